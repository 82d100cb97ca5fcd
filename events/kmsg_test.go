package events

import "testing"

func TestParseKill(t *testing.T) {
	const head = "6,48676,20691671230,-;"
	for _, tt := range []struct {
		name, record string
		want         kill
		ok           bool
	}{
		{
			"a cgroup's limit, as Linux 6.18 writes it",
			head + "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=f3,mems_allowed=0,oom_memcg=/kubepods/pod9,task_memcg=/kubepods/pod9/f3,task=dd,pid=13276,uid=0\n SUBSYSTEM=x\n",
			kill{"/kubepods/pod9", "/kubepods/pod9/f3"},
			true,
		},
		{
			"the node's memory",
			head + "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/kubepods/pod9/f3,task=dd,pid=7,uid=0",
			kill{"", "/kubepods/pod9/f3"},
			true,
		},
		{
			"somebody else's record: only the kernel's own have facility 0",
			"14,48676,20691671230,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=f3,mems_allowed=0,oom_memcg=/a,task_memcg=/a/b,task=dd,pid=7,uid=0",
			kill{},
			false,
		},
		{"no number", "x;oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/a,task_memcg=/a/b,task=dd,pid=7,uid=0", kill{}, false},
		{"another record", head + "Memory cgroup out of memory: Killed process 13276 (dd)", kill{}, false},
		{"nothing", "", kill{}, false},
		{"cut short", head + "oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/a,task_memcg=/a/b", kill{}, false},
		{"no limit", head + "oom-kill:constraint=CONSTRAINT_MEMCG,task_memcg=/a/b,task=sh,pid=1,uid=0", kill{"", "/a/b"}, false},
		{
			"a container's cgroup that is called like the words of the record",
			head + "oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/a/x,task_memcg=/other,task=y,task_memcg=/a/x,task=sh,pid=1,uid=0",
			kill{},
			false,
		},
	} {
		got, ok := parseKill(tt.record)
		if ok != tt.ok || ok && got != tt.want {
			t.Errorf("%s: %+v, %v, want %+v, %v", tt.name, got, ok, tt.want, tt.ok)
		}
	}
}

func FuzzParseKill(f *testing.F) {
	f.Add("6,1,2,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=c,mems_allowed=0,oom_memcg=/a,task_memcg=/a/b,task=sh,pid=7,uid=0")
	f.Add("6,1,2,-;oom-kill:constraint=CONSTRAINT_NONE,global_oom,task_memcg=/a,task=x,pid=1,uid=0")
	f.Fuzz(func(t *testing.T, record string) {
		k, ok := parseKill(record)
		if !ok {
			return
		}
		constraint := "NONE,global_oom"
		if k.hit != "" {
			constraint = "MEMCG,oom_memcg=" + k.hit
		}
		again, ok := parseKill("6,1,2,-;oom-kill:constraint=CONSTRAINT_" + constraint + ",task_memcg=" + k.victim + ",task=x")
		if !ok || again != k {
			t.Errorf("%q: %+v, again %+v, %v", record, k, again, ok)
		}
	})
}
