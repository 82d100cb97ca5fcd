package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/inspect/audit"
)

// recordedNode reads a recorded node of package audit.
func recordedNode(t *testing.T, version string) inspect.Snapshot {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "inspect", "audit", "testdata", "lab-"+version+".json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // opened for reading
	r, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	s, err := inspect.ReadSnapshot(r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// smallNode reads the node that the sessions of audit are about: unlike those of package audit it is never recorded again.
func smallNode(t *testing.T) inspect.Snapshot {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "audit.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // opened for reading
	s, err := inspect.ReadSnapshot(f)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// evil are names that a program which reads a format might take for more than a name.
var evil = []string{
	`</script><script>document.title="executed"</script>`,
	`"><img src=x onerror='document.title="executed"'>`,
	"' onmouseover='document.title=1' x='",
	`</textarea></style><!--`,
	"]]>&amp;&#60;b&#62;",
	`[click](javascript:alert(1)) {0} {{.}} ${x}`,
	"../../../etc/passwd?x#y %2e%2e",
	hostile,
	"\u202eevil\u202c \u05d0\u05d1\u05d2 \u0627\u0644\u0639\u0631\u0628\u064a\u0629",
	strings.Repeat("very-long-name-", 30),
	"\ufffe\uffff\x00\x1b[2J\ud7ff\U0010ffff",
}

// evilNode is a recorded node on which every container has such a name, of one nothing is known, and some may be missing.
func evilNode(t *testing.T) inspect.Snapshot {
	t.Helper()
	s := recordedNode(t, "2.4")
	for n := range s.Containers {
		name := evil[n%len(evil)]
		r := &s.Containers[n]
		r.Name, r.Image = name, name
		if r.Pod != nil {
			r.Pod.Name, r.Pod.Namespace = name, name
		}
		if r.Process.Known() == inspect.Present {
			r.Process = inspect.KnownFact(inspect.Program{Args: evil, Cwd: name}, name)
		}
		if mounts, ok := r.Mounts.Value(); ok {
			for m := range mounts.InForce {
				if mounts.InForce[m].Kind == inspect.MountHost {
					mounts.InForce[m].Point += "/" + name
				}
			}
		}
	}
	shut := unreadable()
	shut.Name = evil[0]
	s.Containers = append(s.Containers, shut)
	s.Missing = []string{"default: the list broke off: " + evil[1]}
	s.MissingSockets = []string{"open /run: " + evil[0]}
	return s
}

// judgedBy judges for a format, with findings of all severities.
func judgedBy(s inspect.Snapshot, refs []string, o audit.Options) judgment {
	j, _ := judge(s, refs, auditFlags{options: o})
	j.show(audit.Low)
	return j
}

// sample is small and has everything: an attack path, parts, what is unknown, and a container that was not found.
func sample(t *testing.T) judgment {
	t.Helper()
	s := smallNode(t)
	s.Containers = append(s.Containers, unreadable())
	s.Missing = []string{"moby: the list broke off"}
	return judgedBy(s, []string{"pod-host-ns", "pod-hardened", "pod-socket-mounted", "shut", "pod-oom", "nowhere"}, audit.Options{Rules: []string{
		"path-host-process", "privileged", "host-pid", "cap-sys-ptrace", "runtime-socket", "no-pids-limit", "lsm-off", "default-capabilities",
	}})
}

var sampleBuild = build{Version: "v1.2.3", Go: "go1.26", Platform: "linux/amd64"}

func written(t *testing.T, write func(io.Writer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sarifOf(t *testing.T, j judgment) []byte {
	t.Helper()
	return written(t, func(w io.Writer) error { return writeSARIF(w, j, sampleBuild) })
}

func junitOf(t *testing.T, j judgment) []byte {
	t.Helper()
	return written(t, func(w io.Writer) error { return writeJUnit(w, j) })
}

func htmlOf(t *testing.T, j judgment) []byte {
	t.Helper()
	return written(t, func(w io.Writer) error { return writeHTML(w, j, sampleBuild) })
}

func TestReportFormats(t *testing.T) {
	golden(t, "audit.html", htmlOf(t, sample(t)))
	golden(t, "audit.sarif", sarifOf(t, sample(t)))
	golden(t, "audit.junit.xml", junitOf(t, sample(t)))
	s := smallNode(t)
	of := func(c inspect.Container) bool { return c.Pod != nil && c.Pod.Name == "pod-hardened" }
	a := audit.Assess(s, audit.AssessOptions{Standard: audit.PSSRestricted, Among: of})
	golden(t, "standard.junit.xml", written(t, func(w io.Writer) error { return writeJUnitStandard(w, a, errors.New("nowhere: not found")) }))
}

// sarifRead is what is asked of SARIF.
type sarifRead struct {
	Runs []struct {
		Tool struct {
			Driver struct {
				Rules []struct {
					ID string `json:"id"`
				} `json:"rules"`
			} `json:"driver"`
		} `json:"tool"`
		Invocations []struct {
			Successful    bool `json:"executionSuccessful"`
			Notifications []struct {
				Level      string `json:"level"`
				Descriptor struct {
					ID string `json:"id"`
				} `json:"descriptor"`
			} `json:"toolExecutionNotifications"`
		} `json:"invocations"`
		Results []sarifReadResult `json:"results"`
	} `json:"runs"`
}

type sarifReadResult struct {
	RuleID       string            `json:"ruleId"`
	RuleIndex    int               `json:"ruleIndex"`
	Kind         string            `json:"kind"`
	Level        string            `json:"level"`
	Fingerprints map[string]string `json:"partialFingerprints"`
	Locations    []struct {
		Physical struct {
			Artifact struct {
				URI string `json:"uri"`
			} `json:"artifactLocation"`
		} `json:"physicalLocation"`
	} `json:"locations"`
}

func readSARIF(t *testing.T, data []byte) sarifRead {
	t.Helper()
	var s sarifRead
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSARIFSays: what is found is there once, what is unknown is open and never passes, and what is missing is told.
func TestSARIFSays(t *testing.T) {
	for name, s := range map[string]inspect.Snapshot{"2.4": recordedNode(t, "2.4"), "1.6": recordedNode(t, "1.6"), "evil": evilNode(t)} {
		j := judgedBy(s, nil, audit.Options{})
		run := readSARIF(t, sarifOf(t, j)).Runs[0]
		if len(run.Results) != len(j.Findings) {
			t.Errorf("%s: %d results of %d findings", name, len(run.Results), len(j.Findings))
		}
		for n, r := range run.Results {
			f := j.Findings[n]
			want := map[audit.Verdict]string{audit.Fail: "fail", audit.Unknown: "open"}[f.Verdict]
			if r.RuleID != f.Rule || r.Kind != want || (r.Level == "none") != (want == "open") || run.Tool.Driver.Rules[r.RuleIndex].ID != f.Rule {
				t.Errorf("%s: %+v of %s %s", name, r, f.Rule, f.Verdict)
			}
			if uri := r.Locations[0].Physical.Artifact.URI; strings.ContainsAny(uri, " <>\"'?#\\") || slices.Contains(strings.Split(uri, "/"), "..") {
				t.Errorf("%s: uri %q", name, uri)
			}
		}
		invocation := run.Invocations[0]
		if invocation.Successful != (name != "evil") {
			t.Errorf("%s: successful %v", name, invocation.Successful)
		}
		var notes []string
		for _, n := range invocation.Notifications {
			notes = append(notes, n.Descriptor.ID)
		}
		var want []string
		if name == "evil" {
			want = []string{noteMissing, noteSockets}
		}
		if unknownVerdicts(notAccepted(j.Findings)) != nil {
			want = append(want, noteUnknown)
		}
		if !slices.Equal(notes, want) {
			t.Errorf("%s: notifications %q, want %q", name, notes, want)
		}
	}
}

// TestSARIFOfNothing: a node without findings has a list of results, or nobody would know that it was looked at.
func TestSARIFOfNothing(t *testing.T) {
	data := sarifOf(t, judgedBy(inspect.Snapshot{}, nil, audit.Options{Rules: []string{"privileged"}}))
	if !bytes.Contains(data, []byte(`"results": []`)) {
		t.Errorf("no empty list of results:\n%s", data)
	}
}

// TestFingerprintsStay: another id, another severity and other evidence do not change which finding it is; another container and
// another rule do.
func TestFingerprintsStay(t *testing.T) {
	seen := map[string]string{}
	for _, f := range judgedBy(recordedNode(t, "2.4"), nil, audit.Options{}).Findings {
		marks := fingerprints(f)
		for key, mark := range marks {
			if other := seen[key+mark]; other != "" {
				t.Errorf("%s of %s is %s too", f.Rule, f.Subject, other)
			}
			seen[key+mark] = f.Rule + " of " + f.Subject.String()
		}
		restarted := f
		restarted.Subject.ID, restarted.Evidence, restarted.Severity = "another", nil, audit.Critical
		if !reflect.DeepEqual(fingerprints(restarted), marks) {
			t.Errorf("%s of %s becomes another after a restart", f.Rule, f.Subject)
		}
	}
	if len(seen) < 200 {
		t.Errorf("%d fingerprints", len(seen))
	}
}

type junitRead struct {
	Tests    int `xml:"tests,attr"`
	Failures int `xml:"failures,attr"`
	Errors   int `xml:"errors,attr"`
	Skipped  int `xml:"skipped,attr"`
	Suites   []struct {
		Name  string `xml:"name,attr"`
		Cases []struct {
			Name    string    `xml:"name,attr"`
			Failure *struct{} `xml:"failure"`
			Error   *struct{} `xml:"error"`
			Skipped *struct{} `xml:"skipped"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

// TestJUnitSays: a test passes where the rule does, and nowhere else.
func TestJUnitSays(t *testing.T) {
	for name, s := range map[string]inspect.Snapshot{"2.4": recordedNode(t, "2.4"), "1.6": recordedNode(t, "1.6"), "evil": evilNode(t)} {
		j := judgedBy(s, nil, audit.Options{})
		data := junitOf(t, j)
		var read junitRead
		if err := xml.Unmarshal(data, &read); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(read.Suites) != len(j.report.Subjects)+1 {
			t.Fatalf("%s: %d suites of %d subjects", name, len(read.Suites), len(j.report.Subjects))
		}
		counts := map[string]int{}
		for n, suite := range read.Suites {
			for m, c := range suite.Cases {
				counts["tests"]++
				outcome := "pass"
				for word, is := range map[string]bool{"failure": c.Failure != nil, "error": c.Error != nil, "skipped": c.Skipped != nil} {
					if is {
						outcome = word
						counts[word]++
					}
				}
				want := "pass"
				if n == 0 {
					if name == "evil" {
						want = "error" // something is missing
					}
				} else {
					r := j.report.Subjects[n-1].Results[m]
					want = map[audit.Verdict]string{audit.Pass: "pass", audit.Fail: "failure", audit.Unknown: "error", audit.NotApplicable: "skipped"}[r.Verdict]
					if r.Severity < j.Least && want != "pass" {
						want = "skipped"
					}
				}
				if outcome != want {
					t.Errorf("%s: %s %s: %s, want %s", name, suite.Name, c.Name, outcome, want)
				}
			}
		}
		if want := map[string]int{"tests": read.Tests, "failure": read.Failures, "error": read.Errors, "skipped": read.Skipped}; !reflect.DeepEqual(counts, want) {
			t.Errorf("%s: counted %v, told %v", name, counts, want)
		}
	}
}

// TestJUnitIsWellFormed asks xmllint, which is stricter than package xml.
func TestJUnitIsWellFormed(t *testing.T) {
	if _, err := exec.LookPath("xmllint"); err != nil {
		t.Skip("needs xmllint of libxml2-utils")
	}
	cmd := exec.Command("xmllint", "--noout", "--nonet", "-")
	cmd.Stdin = bytes.NewReader(junitOf(t, judgedBy(evilNode(t), nil, audit.Options{})))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestAccepted: what is accepted is told as such, with its parts, and neither passes nor fails; what is also part of another finding
// still fails.
func TestAccepted(t *testing.T) {
	j := sample(t)
	why := &audit.Acceptance{Reason: "an agent <of> ours", Severity: audit.Critical, Expires: audit.DateOf(j.Time)}
	for n := range j.Findings {
		if j.Findings[n].Rule == "privileged" && j.Findings[n].Verdict == audit.Fail {
			j.Findings[n].Accepted = why
		}
	}
	for _, s := range j.report.Subjects {
		for n := range s.Results {
			if s.Results[n].Rule == "privileged" && s.Results[n].Verdict == audit.Fail {
				s.Results[n].Accepted = why
			}
		}
	}
	data := sarifOf(t, j)
	if !bytes.Contains(data, []byte(`"justification": "an agent <of> ours (until 2026-11-23)",`)) || bytes.Count(data, []byte(`"suppressions"`)) != 1 {
		t.Errorf("no suppression, or several:\n%s", data)
	}
	for rule, want := range map[string]string{"privileged": "skipped", "default-capabilities": "skipped", "host-pid": "failure", "cap-sys-ptrace": "failure", "path-host-process": "failure"} {
		var read junitRead
		if err := xml.Unmarshal(junitOf(t, j), &read); err != nil {
			t.Fatal(err)
		}
		for _, suite := range read.Suites {
			for _, c := range suite.Cases {
				if suite.Name == "default/pod-host-ns/app" && c.Name == rule && (c.Skipped != nil) != (want == "skipped") {
					t.Errorf("%s: %+v, want %s", rule, c, want)
				}
			}
		}
	}
}

// TestReportsAreEscaped: nothing that a container controls reaches the terminal as it is.
func TestReportsAreEscaped(t *testing.T) {
	j := judgedBy(evilNode(t), nil, audit.Options{})
	for name, data := range map[string][]byte{"sarif": sarifOf(t, j), "junit": junitOf(t, j), "html": withoutOwn(htmlOf(t, j))} {
		for _, line := range strings.Split(string(data), "\n") {
			if strings.ContainsFunc(line, func(r rune) bool { return !strconv.IsPrint(r) }) {
				t.Errorf("%s: raw: %q", name, line)
			}
		}
		if !bytes.Contains(data, []byte("executed")) {
			t.Errorf("%s: does not show the names", name)
		}
	}
}

// TestReportsAreStable: the same node has the same reports.
func TestReportsAreStable(t *testing.T) {
	for range 3 {
		a, b := judgedBy(recordedNode(t, "2.4"), nil, audit.Options{}), judgedBy(recordedNode(t, "2.4"), nil, audit.Options{})
		if !bytes.Equal(sarifOf(t, a), sarifOf(t, b)) || !bytes.Equal(htmlOf(t, a), htmlOf(t, b)) || !bytes.Equal(junitOf(t, a), junitOf(t, b)) {
			t.Fatal("it differs")
		}
	}
}
