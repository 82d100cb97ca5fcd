package caps

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestInfos holds the table to its own rules.
func TestInfos(t *testing.T) {
	ref := regexp.MustCompile(`^([a-z_]+\([2-8]\)|CVE-\d{4}-\d{4,}|T\d{4}(\.\d{3})?)$`)
	if len(infos) != Known().Len() {
		t.Errorf("%d entries for %d known capabilities", len(infos), Known().Len())
	}
	for c := range Known().All() {
		info := c.Info()
		if info.Allows == "" || info.Since == "" || info.Danger == DangerUnknown {
			t.Errorf("%s: not all is said: %+v", c, info)
		}
		for _, sentence := range []string{info.Allows, info.Escape} {
			if sentence != "" && (!strings.HasSuffix(sentence, ".") || strings.Contains(sentence, ". ")) {
				t.Errorf("%s: not one sentence: %q", c, sentence)
			}
		}
		if (info.Escape == "") != (len(info.Refs) == 0) {
			t.Errorf("%s: an escape and its references go together: %+v", c, info)
		}
		if info.Danger.AtLeast(DangerHigh) && info.Escape == "" {
			t.Errorf("%s is %s and has no escape", c, info.Danger)
		}
		if !info.Danger.AtLeast(DangerMedium) && info.Escape != "" {
			t.Errorf("%s is %s and has an escape", c, info.Danger)
		}
		for _, r := range info.Refs {
			if !ref.MatchString(r) {
				t.Errorf("%s: reference %q", c, r)
			}
		}
	}
}

func TestInfoUnknown(t *testing.T) {
	for _, c := range []Cap{41, 63, 255} {
		if info := c.Info(); info.Danger != DangerUnknown || info.Allows != "" || info.Escape != "" {
			t.Errorf("%s: %+v", c, info)
		}
	}
}

func TestInfoIsACopy(t *testing.T) {
	SysAdmin.Info().Refs[0] = "x"
	if SysAdmin.Info().Refs[0] == "x" {
		t.Error("a caller can change the table")
	}
}

func TestDangerLevels(t *testing.T) {
	want := []string{"unknown", "none", "low", "medium", "high", "critical"}
	var got []string
	for d := DangerUnknown; d <= DangerCritical; d++ {
		data, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var back Danger
		if err := json.Unmarshal(data, &back); err != nil || back != d {
			t.Errorf("%s comes back as %s, %v", data, back, err)
		}
		got = append(got, strings.Trim(string(data), `"`))
	}
	if !slices.Equal(got, want) {
		t.Errorf("levels %q, want %q", got, want)
	}
	for _, tc := range []struct {
		d, level Danger
		want     bool
	}{
		{DangerHigh, DangerMedium, true},
		{DangerHigh, DangerHigh, true},
		{DangerMedium, DangerHigh, false},
		{DangerNone, DangerLow, false},
		{DangerUnknown, DangerCritical, true},
	} {
		if got := tc.d.AtLeast(tc.level); got != tc.want {
			t.Errorf("%s at least %s: %v", tc.d, tc.level, got)
		}
	}
	var d Danger
	checkError(t, "severe", d.UnmarshalText([]byte("severe")), `danger "severe": want unknown, none`)
}

// TestSinceAgainstManual compares the Linux versions with capabilities(7). The manual has none for those of Linux 2.2.
func TestSinceAgainstManual(t *testing.T) {
	page, err := exec.Command("man", "-P", "cat", "7", "capabilities").Output()
	if err != nil {
		t.Skipf("the manual page capabilities(7) is missing (Debian: man-db, manpages): %v", err)
	}
	entry := regexp.MustCompile(`^\s+(CAP_[A-Z_]+)(?: \(since Linux ([0-9.]+)\))?$`)
	found := Set(0)
	for scanner := bufio.NewScanner(bytes.NewReader(page)); scanner.Scan(); {
		m := entry.FindStringSubmatch(strings.TrimRight(scanner.Text(), " "))
		if m == nil {
			continue
		}
		c, err := ParseCap(m[1])
		if err != nil {
			t.Errorf("the manual has %s: %v", m[1], err)
			continue
		}
		since := m[2]
		if since == "" {
			since = "2.2"
		}
		if got := c.Info().Since; got != since && !found.Has(c) {
			t.Errorf("%s since %s, the manual says %s", c, got, since)
		}
		found |= 1 << c
	}
	if missing := Known().Minus(found); !missing.IsEmpty() {
		t.Errorf("not in the manual: %s", missing)
	}
}
