package main

import (
	"bytes"
	"context"
	"errors"
	"html"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/inspect/audit"
)

// withoutOwn leaves out the page's own style and script, which have tabs.
func withoutOwn(page []byte) []byte {
	return regexp.MustCompile(`(?s)<(style|script)>.*?</(style|script)>`).ReplaceAll(page, nil)
}

// browsed is what a browser made of a page.
type browsed struct {
	dom      string
	console  []string // what it complained of
	requests []string // what it asked the network for
}

// browse opens a page in a headless Chromium. What it asks the network for goes to a proxy of ours, which answers nothing.
func browse(t *testing.T, page []byte) browsed {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("needs chromium")
	}
	folder := t.TempDir()
	file := filepath.Join(folder, "page.html")
	if err := os.WriteFile(file, page, 0o644); err != nil {
		t.Fatal(err)
	}
	var b browsed
	var lock sync.Mutex
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lock.Lock()
		defer lock.Unlock()
		// Some releases look up their maker's hosts at each start, whatever they are told.
		if host := r.URL.Hostname(); !strings.HasSuffix(host, ".google.com") && !strings.HasSuffix(host, ".googleapis.com") && !strings.HasSuffix(host, ".gstatic.com") {
			b.requests = append(b.requests, r.Method+" "+r.URL.String())
		}
		http.Error(w, "nothing", http.StatusBadGateway)
	})}
	go func() { _ = proxy.Serve(listener) }()
	defer proxy.Close() //nolint:errcheck // nothing is lost
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
		"--user-data-dir="+filepath.Join(folder, "profile"), "--enable-logging=stderr", "--virtual-time-budget=3000",
		"--proxy-server=http://"+listener.Addr().String(), "--proxy-bypass-list=<-loopback>", "--dump-dom", "file://"+file)
	cmd.Env = append(os.Environ(), "HOME="+folder, "LC_ALL=C")
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	b.dom = stdout.String()
	for line := range strings.Lines(stderr.String()) {
		if strings.Contains(line, ":CONSOLE") {
			b.console = append(b.console, strings.TrimSpace(line))
		}
	}
	lock.Lock()
	defer lock.Unlock()
	return b
}

// TestPageInBrowser: a browser shows a page of hostile names whole, its own script runs and no other, and it asks the network for
// nothing.
func TestPageInBrowser(t *testing.T) {
	j := judgedBy(evilNode(t), nil, audit.Options{})
	got := browse(t, htmlOf(t, j))
	if len(got.console) > 0 || len(got.requests) > 0 {
		t.Errorf("console %q, requests %q", got.console, got.requests)
	}
	title := "<title>rtinspect audit: " + j.headline() + "</title>"
	for text, want := range map[string]int{
		title: 1, `class="js"`: 1, "<script": 1, "<style": 1, "<img": 0, "<link": 1, " onerror=": 0, " onmouseover=": 0,
		`<article class="subject"`: len(bySubject(j.Findings)), `<h2 id="h-unknown">`: 1, "Containers may be missing": 1,
	} {
		// What is text is escaped in a dump as well, but for quotes.
		if n := strings.Count(tags(got.dom, text), text); n != want {
			t.Errorf("%q is there %d times, want %d", text, n, want)
		}
	}
	rows := strings.Count(got.dom, `<th scope="row"><a href="#s`)
	if rows != len(bySubject(j.Findings)) {
		t.Errorf("%d rows of the matrix, want %d", rows, len(bySubject(j.Findings)))
	}
	for _, name := range []string{evil[0], evil[4], evil[5], `\u202eevil`} {
		if shown := strings.ReplaceAll(html.EscapeString(name), "&#34;", `"`); !strings.Contains(strings.ReplaceAll(got.dom, "'", "&#39;"), shown) {
			t.Errorf("the name %q is not shown", name)
		}
	}
}

// tags leaves only the tags of a document, when a tag is looked for: texts may well have words that look like attributes.
func tags(dom, text string) string {
	if !strings.HasPrefix(text, " on") {
		return dom
	}
	return strings.Join(regexp.MustCompile(`<[a-zA-Z][^<>]*>`).FindAllString(dom, -1), "\n")
}

// TestBrowserSees: the test above would see it. The policy keeps the page from what got in, and the browser says so.
func TestBrowserSees(t *testing.T) {
	page := htmlOf(t, sample(t))
	got := browse(t, bytes.Replace(page, []byte("</main>"), []byte(`<script>document.title="executed"</script><img src="http://tracker.test/x"></main>`), 1))
	if strings.Contains(got.dom, "<title>executed") || len(got.requests) > 0 {
		t.Errorf("the policy lets it through: requests %q", got.requests)
	}
	if len(got.console) < 2 {
		t.Errorf("the browser complains of %q, want of the script and of the picture", got.console)
	}
	bare := browse(t, []byte(`<title>x</title><script>document.title="executed"</script><img src="http://tracker.test/x">`))
	if !strings.Contains(bare.dom, "<title>executed") || !slices.Contains(bare.requests, "GET http://tracker.test/x") {
		t.Errorf("without a policy: requests %q, page %s", bare.requests, bare.dom)
	}
}

// TestPageIsHonest: what is unknown or missing is never in a headline that sounds safe, nor a cell of the matrix that says passed.
func TestPageIsHonest(t *testing.T) {
	s := smallNode(t)
	s.Containers = []inspect.Report{unreadable()}
	j := judgedBy(s, nil, audit.Options{Rules: []string{"privileged", "host-pid"}})
	if got := j.headline(); got != "Nothing found, and 2 verdicts unknown" {
		t.Errorf("headline %q", got)
	}
	if bytes.Contains(htmlOf(t, j), []byte(">passed<")) {
		t.Error("a cell says passed")
	}
	for n := range j.Findings {
		j.Findings[n].Accepted = &audit.Acceptance{Reason: "so be it"}
	}
	if page := htmlOf(t, j); bytes.Contains(page, []byte("was decided")) || !bytes.Contains(page, []byte("Nothing but what is accepted")) {
		t.Error("what is accepted and unknown counts as decided")
	}
	j.Findings, j.Missing = nil, []string{"gone"}
	if got := j.headline(); got != "Nothing found; containers may be missing" {
		t.Errorf("headline %q", got)
	}
	rules := map[string]audit.Rule{"a": {ID: "a", Area: "x"}, "b": {ID: "b", Area: "x"}}
	result := func(rule string, v audit.Verdict, s audit.Severity) audit.Result {
		return audit.Result{Rule: rule, Verdict: v, Severity: s}
	}
	for name, tc := range map[string]struct {
		results []audit.Result
		want    string
	}{
		"passed":         {[]audit.Result{result("a", audit.Pass, 0), result("b", audit.NotApplicable, 0)}, "✓"},
		"unknown":        {[]audit.Result{result("a", audit.Pass, 0), result("b", audit.Unknown, audit.Low)}, "?"},
		"below":          {[]audit.Result{result("a", audit.Pass, 0), result("b", audit.Fail, audit.Info)}, "·"},
		"unknown below":  {[]audit.Result{result("a", audit.Pass, 0), result("b", audit.Unknown, audit.Info)}, "·"},
		"worst":          {[]audit.Result{result("a", audit.Fail, audit.Low), result("b", audit.Fail, audit.High)}, "H"},
		"both":           {[]audit.Result{result("a", audit.Fail, audit.Low), result("b", audit.Unknown, audit.High)}, "L"},
		"not applicable": {[]audit.Result{result("a", audit.NotApplicable, 0)}, "–"},
	} {
		got := cellOf(audit.Subject{Results: tc.results}, "x", rules, audit.Low)
		if got.Mark != tc.want || strings.Contains(got.Class+got.Words, "unknown") != (name == "both" || name == "unknown") {
			t.Errorf("%s: %+v, want %s", name, got, tc.want)
		}
	}
}

func TestLevelOfFact(t *testing.T) {
	for name, want := range map[string][2]string{
		"seccomp.inForce":                        {"seccomp", "in force"},
		"cgroup.inForce.effective.memory.pod":    {"cgroup.effective.memory.pod", "in force"},
		"mounts.inForce./host/a.requested/b.txt": {"mounts./host/a.requested/b.txt", "in force"},
		"privileged.requested":                   {"privileged", "requested"},
		"user.declared":                          {"user", "declared"},
		"node.lsms":                              {"node.lsms", ""},
	} {
		if setting, level := levelOfFact(name); setting != want[0] || level != want[1] {
			t.Errorf("%s: %q, %q", name, setting, level)
		}
	}
}
