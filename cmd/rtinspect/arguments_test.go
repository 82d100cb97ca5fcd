package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// TestParse: words in any order become the one that urfave/cli reads whole.
func TestParse(t *testing.T) {
	for words, want := range map[string]string{
		"ps":                                "ps --",
		"caps web -o json":                  "caps --output=json -- web",
		"caps -o json web":                  "caps --output=json -- web",
		"-o json caps web":                  "caps --output=json -- web",
		"caps web --output=json":            "caps --output=json -- web",
		"caps web -ojson":                   "caps --output=json -- web",
		"caps web -o=json":                  "caps --output=json -- web",
		"caps a b -r /s c":                  "caps --runtime-endpoint=/s -- a b c",
		"-r /s caps a":                      "caps --runtime-endpoint=/s -- a",
		"ps -aq":                            "ps --all=true --quiet=true --",
		"ps -aqo wide":                      "ps --all=true --quiet=true --output=wide --",
		"ps -aqowide":                       "ps --all=true --quiet=true --output=wide --",
		"ps --all=false":                    "ps --all=false --",
		"ps --all=0 --all":                  "ps --all=false --all=true --",
		"ps -o json --output yaml":          "ps --output=json --output=yaml --",
		"caps --mask -":                     "caps --mask=- --",
		"caps --mask -1":                    "caps --mask=-1 --",
		"caps --mask= x":                    "caps --mask= -- x",
		"caps -o go-template={{.a}}={{.b}}": "caps --output=go-template={{.a}}={{.b}} --",
		"caps - web":                        "caps -- - web",
		"caps -- -o json":                   "caps -- -o json",
		"caps -- --":                        "caps -- --",
		"-- caps web":                       "caps -- web",
		"inspect ps help":                   "inspect -- ps help",
		"__complete caps --out":             "__complete -- caps --out",
		"__complete -- -x --help":           "__complete -- -- -x --help",
	} {
		v := &invocation{}
		line, err := parse(v.commands(), strings.Fields(words))
		if err != nil {
			t.Errorf("%s: %v", words, err)
			continue
		}
		if got := strings.Join(line.ordered()[1:], " "); got != want || line.help {
			t.Errorf("%s: got %q (help %v), want %q", words, got, line.help, want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for words, want := range map[string]string{
		"-o":                       "flag --output needs a value",
		"caps -qo":                 "flag --output needs a value",
		"ps -az":                   "unknown flag -z",
		"ps --":                    "",
		"ps -é":                    "unknown flag -é",
		"version -q":               "unknown flag -q",
		"-q version":               "unknown flag --quiet",
		"ps --mask 1":              "unknown flag --mask",
		"--mask 1 ps":              "unknown flag --mask",
		"caps --masc 1":            "unknown flag --masc: did you mean --mask?",
		"caps --runtime-endpont x": "unknown flag --runtime-endpont: did you mean --runtime-endpoint?",
		"caps --=x":                "unknown flag --",
		"ps --no-trunc=2":          `flag --no-trunc takes true or false, not "2"`,
		"ps --no-trunc=":           `flag --no-trunc takes true or false, not ""`,
		"verzion":                  `unknown command "verzion": did you mean version?`,
		"__complet":                `unknown command "__complet"`,
		"--color=never -- -x":      `unknown command "-x"`,
	} {
		v := &invocation{}
		_, err := parse(v.commands(), strings.Fields(words))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", words, got, want)
		}
	}
}

// TestFlagsAreAlike: a flag before the command is read before it is known whose it is.
func TestFlagsAreAlike(t *testing.T) {
	v := &invocation{}
	takes := map[string]bool{}
	names := map[string]string{}
	for _, command := range v.commands() {
		for _, f := range command.Flags {
			for _, name := range spellings(f) {
				if value, seen := takes[name]; seen && (value != takesValue(f) || names[name] != f.Names()[0]) {
					t.Errorf("flag %s of %s is not that of another command", name, command.Name)
				}
				takes[name], names[name] = takesValue(f), f.Names()[0]
			}
		}
	}
}

// TestHelpIsWhole: every command explains itself, with three to six examples of itself.
func TestHelpIsWhole(t *testing.T) {
	v := &invocation{}
	for _, command := range v.commands() {
		if command.Hidden {
			continue
		}
		examples := strings.Split(command.UsageText, "\n")
		if n := len(examples); n < 3 || n > 6 {
			t.Errorf("%s has %d examples", command.Name, n)
		}
		for _, example := range examples {
			if !strings.Contains(example, "rtinspect "+command.Name) && command.Name != "help" {
				t.Errorf("%s: no example of it: %q", command.Name, example)
			}
		}
		var b bytes.Buffer
		manual(&b, command)
		if command.Usage == "" || command.Description == "" || strings.Contains(b.String(), "`") {
			t.Errorf("%s: help\n%s", command.Name, &b)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"ps", "", 2}, {"", "ps", 2}, {"ps", "pss", 1}, {"caps", "cpas", 2}, {"kitten", "sitting", 3},
	} {
		if got := distance(tc.a, tc.b); got != tc.want {
			t.Errorf("from %q to %q: %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}

func TestComplete(t *testing.T) {
	v := &invocation{}
	for line, want := range map[string]string{
		"":                          "audit caps cgroup completion diff events explain help inspect ns pods ps snapshot sockets top version",
		"p":                         "pods ps",
		"c":                         "caps cgroup completion",
		"help ve":                   "version",
		"completion ":               "bash fish zsh",
		"completion z":              "zsh",
		"ps -o ":                    "go-template= json table wide yaml",
		"ps --output=j":             "--output=json",
		"ps --output = j":           "json", // as bash splits it
		"ps --output =":             "go-template= json table wide yaml",
		"-o j":                      "json",
		"caps --color n":            "never",
		"caps --default c":          "containerd cri-o",
		"caps --ma":                 "--mask",
		"caps --mask ":              "",
		"version --":                "--color --help --host-root --output --runtime-endpoint --snapshot --timeout",
		"ps -r ":                    ":files",
		"ps --host-root=/h":         ":files",
		"ps -a ":                    "",
		"ps --nope ":                "",
		"ps --nope=":                "",
		"caps -r unix:///nowhere w": "",
		"caps -- -":                 "",
	} {
		got := strings.Join(complete(v.commands(), strings.Split(line, " ")), " ")
		if got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
	if got := complete(v.commands(), nil); !slices.Contains(got, "ps") {
		t.Errorf("of nothing: %q", got)
	}
}
