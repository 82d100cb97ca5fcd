package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rtinspect/rtinspect/inspect"
	"github.com/rtinspect/rtinspect/inspect/audit"
)

func baselineFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "baseline", Usage: "accept the findings that `FILE` lists, see docs/baseline.md: they are counted, and shown by wide and json"},
		&cli.StringFlag{Name: "write-baseline", Usage: "write what is shown and not accepted yet to a new `FILE`, as accepted"},
	}
}

// baselineFiles are those of an audit: what is accepted, and where to write what is to be.
type baselineFiles struct {
	read, write string
	accepted    audit.Accepted
}

func readBaselineFlags(c *cli.Context) (baselineFiles, error) {
	b := baselineFiles{read: c.String("baseline"), write: c.String("write-baseline")}
	for _, name := range []string{"baseline", "write-baseline"} {
		if c.IsSet(name) && c.String(name) == "" {
			return b, misuse(c, "flag --"+name+" is \"\": want a file")
		}
	}
	if b.write != "" {
		if _, err := os.Lstat(b.write); err == nil {
			return b, misuse(c, "flag --write-baseline: "+b.write+" is there already: name a new file")
		}
	}
	if b.read == "" {
		return b, nil
	}
	data, err := os.ReadFile(b.read)
	if err != nil {
		return b, named(b.read, err)
	}
	b.accepted, err = audit.ParseAccepted(data)
	return b, b.mistakes(err)
}

// mistakes puts the file and the line before each mistake, and what may have been meant behind it.
func (b baselineFiles) mistakes(err error) error {
	var errs []error
	for _, part := range parts(err) {
		mistake, ok := errors.AsType[*audit.LineError](part)
		switch {
		case part == nil:
		case !ok:
			errs = append(errs, named(b.read, part))
		case mistake.Line == 0:
			errs = append(errs, fmt.Errorf("%s: %s", b.read, mistake.Problem))
		default:
			errs = append(errs, fmt.Errorf("%s:%d: %s%s", b.read, mistake.Line, mistake.Problem, didYouMean(mistake.Word, mistake.Known)))
		}
	}
	return errors.Join(errs...)
}

// apply marks what is accepted in a report of all that was judged.
func (b baselineFiles) apply(r audit.Report, s inspect.Snapshot) audit.Report {
	if b.read == "" {
		return r
	}
	return b.accepted.Apply(r, s, time.Now())
}

// tellBaseline says which entries of the baseline have expired, accept nothing or were not looked at by anybody.
func (v *invocation) tellBaseline(file string, uses []audit.EntryUse) {
	unreviewed := 0
	for _, use := range uses {
		where := file + ":" + strconv.Itoa(use.Line) + ": "
		switch use.State {
		case audit.EntryExpired:
			v.complain(where + "the entry for " + use.Rule + " accepts nothing any more: " + use.Note)
		case audit.EntryUnused:
			v.complain(where + "the entry for " + use.Rule + " is not used: " + use.Note)
		case audit.EntryUsed, audit.EntryNotJudged:
		}
		if use.Reason == audit.NotReviewed {
			unreviewed++
		}
	}
	if unreviewed > 0 {
		v.complain(file + ": " + count(unreviewed, "entry has", "entries have") + " the reason \"" + audit.NotReviewed + "\": say why")
	}
}

// writeBaseline writes the findings of a report to a new file, as accepted.
func (v *invocation) writeBaseline(name string, r audit.Report, s inspect.Snapshot, least audit.Severity) error {
	if name == "" {
		return nil
	}
	accepted, left := audit.AcceptAll(r, s, least)
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return named(name, err)
	}
	if err := errors.Join(accepted.WriteYAML(f), f.Close()); err != nil {
		return named(name, err)
	}
	v.complain(name + ": " + count(len(accepted.Entries), "entry", "entries") + " written: give the reason of each")
	if len(left) > 0 {
		return fmt.Errorf("%s: %s left out, as nothing names the containers", name, count(len(left), "finding is", "findings are"))
	}
	return nil
}

// acceptedLine tells why a finding is accepted: "accepted until 2027-01-31: it sets up the network (line 3)".
func acceptedLine(a audit.Acceptance) string {
	text := "accepted"
	if !a.Expires.IsZero() {
		text += " until " + a.Expires.String()
	}
	return text + ": " + a.Reason + " (line " + strconv.Itoa(a.Line) + ")"
}

// notAccepted returns the findings to act on.
func notAccepted(findings []finding) []finding {
	list := []finding{}
	for _, f := range findings {
		if f.Accepted == nil {
			list = append(list, f)
		}
	}
	return list
}
