package nsdiff

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// recorded lays out a recorded proc file system and returns a reader of it.
func recorded(t testing.TB, name string) Reader {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/proc.txtar")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for _, f := range archive.Files {
		rest, ok := strings.CutPrefix(f.Name, name+"/")
		if !ok {
			continue
		}
		path := filepath.Join(root, rest)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(string(f.Data), "-> "); ok {
			err = os.Symlink(strings.TrimSuffix(target, "\n"), path)
		} else {
			err = os.WriteFile(path, f.Data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return Reader{Proc: root}
}

// folder is a process in memory: the content of its files and links, or the error of reading them. What is missing is ENOENT.
type folder map[string]any

func (f folder) get(op, name string) (string, error) {
	switch v := f[name].(type) {
	case string:
		return v, nil
	case error:
		return "", &fs.PathError{Op: op, Path: "/proc/7/" + name, Err: v}
	}
	return "", &fs.PathError{Op: op, Path: "/proc/7/" + name, Err: syscall.ENOENT}
}

func (f folder) ReadFile(name string) ([]byte, error) {
	text, err := f.get("open", name)
	return []byte(text), err
}

func (f folder) Readlink(name string) (string, error) { return f.get("readlink", name) }

func (f folder) OpenFile(name string) (*os.File, error) {
	_, err := f.get("open", name)
	if err == nil {
		err = &fs.PathError{Op: "open", Path: "/proc/7/" + name, Err: syscall.EACCES}
	}
	return nil, err
}

// initialFolder is a process in the initial namespaces.
func initialFolder() folder {
	f := folder{}
	for _, k := range Kinds() {
		f["ns/"+k.String()] = Initial(k).String()
	}
	return f
}

// set returns the namespaces of a process that is in the initial ones but for those given.
func set(t testing.TB, others map[Kind]any) Set {
	t.Helper()
	f := initialFolder()
	for k, v := range others {
		f["ns/"+k.String()] = v
	}
	s, err := Read(f)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
