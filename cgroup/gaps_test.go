package cgroup

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// TestGapsOfEveryFact: each field that can be unknown is looked at, and named as in JSON.
func TestGapsOfEveryFact(t *testing.T) {
	names := map[string]bool{}
	var p Process
	p.HugeTLB = KnownFact([]HugeTLB{{
		Size: "2MB", Max: KnownFact(Max, "f"), Current: KnownFact(Count(0), "f"),
		MaxEvents: UnknownFact[Count](errors.New("cause of hugetlb.2MB.maxEvents")),
	}}, "f")
	p.Release = []Release{{
		Notify: UnknownFact[bool](errors.New("cause of release[0].notifyOnRelease")),
		Agent:  UnknownFact[string](errors.New("cause of release[0].releaseAgent")),
	}}
	setCauses(reflect.ValueOf(&p).Elem(), "")
	for _, g := range p.Gaps() {
		if g.Fact != strings.TrimPrefix(g.Cause.Error(), "cause of ") {
			t.Errorf("gap %s: %v", g.Fact, g.Cause)
		}
		names[g.Fact] = true
	}
	wanted := factNames(reflect.TypeFor[Process](), "")
	for _, name := range wanted {
		if !names[name] {
			t.Errorf("%s has no gap", name)
		}
	}
	if len(wanted) < 45 {
		t.Errorf("%d facts found: %q", len(wanted), wanted)
	}
}

// factNames returns the JSON names of the facts in a type, those in lists left out but for the list itself.
func factNames(t reflect.Type, prefix string) []string {
	var names []string
	for i := range t.NumField() {
		f := t.Field(i)
		name := prefix + f.Tag.Get("json")
		switch {
		case f.Type.Implements(reflect.TypeFor[interface{ Cause() error }]()):
			if name != "hugetlb" { // known in this test
				names = append(names, name)
			}
		case f.Type.Kind() == reflect.Struct:
			names = append(names, factNames(f.Type, name+".")...)
		}
	}
	return names
}

// setCauses makes every fact unknown, each with a cause of its own.
func setCauses(v reflect.Value, prefix string) {
	for i := range v.NumField() {
		name := prefix + v.Type().Field(i).Tag.Get("json")
		cause := `{"state":"unknown","cause":"cause of ` + name + `"}`
		if strings.HasPrefix(name, "effective.") {
			cause = `{"state":"unknown","levels":[{"kind":"hidden","limit":` + cause + `,"usage":{"state":"absent","reason":"-"}}]}`
		}
		field := v.Field(i)
		_, unknowable := field.Interface().(interface{ Cause() error })
		switch {
		case name == "hugetlb":
		case unknowable:
			if err := json.Unmarshal([]byte(cause), field.Addr().Interface()); err != nil {
				panic(name + ": " + err.Error())
			}
		case field.Kind() == reflect.Struct:
			setCauses(field, name+".")
		}
	}
}

func TestGapsOfOneCause(t *testing.T) {
	p := Process{Folder: UnknownFact[string](errors.New("hidden"))}
	p.Memory.Max = UnknownFact[Limit](errors.New("hidden"))
	var got []string
	for _, g := range p.Gaps() {
		got = append(got, g.Fact+": "+g.Cause.Error())
	}
	if want := "mode: not read, folder: hidden"; strings.Join(got, ", ") != want {
		t.Errorf("gaps %q, want %q", got, want)
	}
}
