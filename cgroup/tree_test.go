package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// recorded writes a recorded machine below a folder of the test and returns that folder. Text of the form "-> target" becomes a
// link. Mounts on /sys/fs/cgroup become ones on the folder.
func recorded(t testing.TB, name string) string {
	t.Helper()
	archive, err := txtar.ParseFile(filepath.Join("testdata", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, file := range archive.Files {
		files[file.Name] = string(file.Data)
	}
	return tree(t, files)
}

func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			if err := os.Symlink(strings.TrimSpace(target), path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if strings.HasSuffix(name, "/mountinfo") {
			text = strings.ReplaceAll(text, " /sys/fs/cgroup", " "+dir+"/sys/fs/cgroup")
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// readerOf returns the reader of a machine written by recorded or tree.
func readerOf(dir string) Reader {
	return Reader{Proc: filepath.Join(dir, "proc"), Sys: filepath.Join(dir, "sys/fs/cgroup")}
}

// show returns a fact in one word or two: its value, "absent", or "unknown".
func show[T interface{ String() string }](f Fact[T]) string {
	if value, ok := f.Value(); ok {
		return value.String()
	}
	return f.Known().String()
}

// showLeast returns what an effective limit is, at which level.
func showLeast[T interface {
	Bound[T]
	String() string
}](e Effective[T]) string {
	level, ok := e.AtMost()
	if !ok {
		return "unknown"
	}
	limit, _ := level.Limit.Value()
	text := limit.String() + " " + string(level.Kind)
	if e.Cause() != nil {
		return "at most " + text
	}
	return text
}
