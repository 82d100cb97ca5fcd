package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/inspect"
)

// binFolder returns a folder with this test's program in it as rtinspect.
func binFolder(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, "rtinspect")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// shell runs a script in a shell that has rtinspect in its PATH and no configuration of its own.
func shell(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs %s", name)
	}
	cmd := exec.Command(name, args...)
	cmd.Dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(cmd.Dir, "a-file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd.Env = []string{"PATH=" + binFolder(t) + ":" + os.Getenv("PATH"), "HOME=" + cmd.Dir, "TERM=dumb"}
	if endpoint := os.Getenv(inspect.EndpointVariable); endpoint != "" {
		cmd.Env = append(cmd.Env, inspect.EndpointVariable+"="+endpoint)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// bashDriver does what readline does: it splits a line as COMP_WORDBREAKS says and calls the function.
const bashDriver = `
source <(rtinspect completion bash)
complete -p rtinspect >/dev/null || exit 3
compopt() { echo "compopt $*"; }
line() {
	COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
	_rtinspect rtinspect "${@: -1}" "${@: -2:1}"
	echo "${COMPREPLY[*]}"
}
`

func TestBashCompletion(t *testing.T) {
	for words, want := range map[string]string{
		`rtinspect ""`:                  "audit caps cgroup completion diff events explain help inspect ns pods ps snapshot sockets top version",
		`rtinspect vers`:                "version",
		`rtinspect caps --pi`:           "--pid",
		`rtinspect ps --output = w`:     "wide",
		`rtinspect ps -o go`:            "compopt -o nospace\ngo-template=",
		`rtinspect audit --rule host-i`: "host-ipc",
		`rtinspect audit --fail-on=h`:   "--fail-on=high",
		`rtinspect explain runtime-s`:   "runtime-socket",
		`rtinspect ps -r ""`:            "compopt -o default",
		`rtinspect version ""`:          "",
		`rtinspect caps "\$(touch x)"`:  "",
	} {
		if got := shell(t, "bash", "--norc", "-c", bashDriver+"line "+words); got != want {
			t.Errorf("%s: got %q, want %q", words, got, want)
		}
	}
}

func TestZshCompletion(t *testing.T) {
	driver := `
autoload -Uz compinit && compinit -u
source <(rtinspect completion zsh)
[[ ${_comps[rtinspect]} == _rtinspect ]] || exit 3
compadd() {
	local space=
	[[ $1 == -S ]] && { space="nospace "; shift 2 }
	shift
	(($#)) && echo "$space$*"
	return 0
}
_files() { echo files }
line() { words=("$@"); CURRENT=$#; _rtinspect }
`
	for words, want := range map[string]string{
		`rtinspect p`:                 "pods ps",
		`rtinspect ps --output=js`:    "--output=json",
		`rtinspect ps -o go-t`:        "nospace go-template=",
		`rtinspect ps --host-root ''`: "files",
	} {
		if got := shell(t, "zsh", "-f", "-c", driver+"line "+words); got != want {
			t.Errorf("%s: got %q, want %q", words, got, want)
		}
	}
}

func TestFishCompletion(t *testing.T) {
	for words, want := range map[string]string{
		"rtinspect p":              "pods\nps",
		"rtinspect caps --mas":     "--mask",
		"rtinspect ps --output=js": "--output=json",
		"rtinspect ps -r a-f":      "a-file",
	} {
		script := "rtinspect completion fish | source; complete -C '" + words + "'"
		if got := shell(t, "fish", "--no-config", "-c", script); got != want {
			t.Errorf("%s: got %q, want %q", words, got, want)
		}
	}
}

// TestRefNames: names that mean one container, and none that a shell could run.
func TestRefNames(t *testing.T) {
	in := func(pod, name string) inspect.Container {
		return inspect.Container{ID: "id-" + pod + name, Name: name, Pod: &inspect.Pod{Name: pod, Namespace: "ns"}}
	}
	containers := []inspect.Container{
		in("a", "app"), in("b", "app"), in("b", "side"),
		{ID: "moby1", Name: "web"},
		in("a", "$(reboot)"), in("a", "x;y"), in("a", "line\nbreak"), in("a", "tab\tbed"), in("a", "-rf"), in("a", "*"),
	}
	for current, want := range map[string]string{
		"":     "a/-rf a/app b/app b/side side web",
		"a":    "a/-rf a/app",
		"ns/":  "ns/a/-rf ns/a/app ns/b/app ns/b/side",
		"mo":   "moby1",
		"id-a": "id-a-rf id-aapp",
	} {
		if got := strings.Join(matching(refNames(containers, current), current, ""), " "); got != want {
			t.Errorf("%q: got %q, want %q", current, got, want)
		}
	}
}
