package inspect

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestParseSpecification(t *testing.T) {
	const text = `{"process":{"args":["a"]},
	"hooks":{"poststop":[{"path":"/z"}],"prestart":[{"path":"/a","args":["a","hunter2"],"env":["T=hunter2"]}],"createRuntime":[{"path":"/b"}]},
	"linux":{"sysctl":{"net.core.somaxconn":"1024"},
		"seccomp":{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],"syscalls":[
			{"names":["read","write"],"action":"SCMP_ACT_ALLOW"},
			{"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,"op":"SCMP_CMP_MASKED_EQ"}]},
			{"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":18446744073709551615,"valueTwo":1,"op":"SCMP_CMP_EQ"}]}]}}}`
	s, err := parseSpecification([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"seccomp":{"state":"known","value":{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],` +
		`"rules":[{"names":["read","write"],"action":"SCMP_ACT_ALLOW"},` +
		`{"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"op":"SCMP_CMP_MASKED_EQ","value":"2114060288","valueTwo":"0"}]},` +
		`{"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"op":"SCMP_CMP_EQ","value":"18446744073709551615","valueTwo":"1"}]}]},` +
		`"source":"OCI runtime specification"},"sysctls":{"net.core.somaxconn":"1024"},` +
		`"hooks":[{"kind":"prestart","path":"/a"},{"kind":"createRuntime","path":"/b"},{"kind":"poststop","path":"/z"}]}`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	var again Specification
	if err := json.Unmarshal(got, &again); err != nil {
		t.Fatal(err)
	}
	if second, _ := json.Marshal(again); string(second) != want {
		t.Errorf("read and written again\n%s", second)
	}
}

func TestParseSpecificationWithout(t *testing.T) {
	for _, text := range []string{`{}`, `{"linux":{}}`, `{"linux":{"seccomp":null,"sysctl":null},"hooks":null}`} {
		s, err := parseSpecification([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		got, _ := json.Marshal(s)
		if want := `{"seccomp":{"state":"absent","reason":"the OCI runtime specification has no filter"},"sysctls":{},"hooks":[]}`; string(got) != want {
			t.Errorf("%s: got %s", text, got)
		}
	}
	for _, text := range []string{`{`, `{"linux":{"seccomp":1}}`, `{"hooks":{"prestart":[{"path":1}]}}`} {
		if _, err := parseSpecification([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), specSource) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
