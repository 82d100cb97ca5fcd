package nsdiff_test

import (
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/rtinspect/rtinspect/nsdiff"
)

// Tell whether a link in /proc/PID/ns leads to the initial namespace.
func ExampleParse() {
	for _, link := range []string{"pid:[4026531836]", "pid:[4026532571]", "socket:[4026531836]"} {
		ns, err := nsdiff.Parse(link)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(ns, ns == nsdiff.Initial(nsdiff.PID))
	}
	// Output:
	// pid:[4026531836] true
	// pid:[4026532571] false
	// invalid syntax: namespace "socket:[4026531836]": want a kind and a number such as net:[4026531833]
}

// Read a process and compare it with the host.
func ExampleReader_Process() {
	var r nsdiff.Reader // or nsdiff.Reader{Proc: "/host/proc"}
	p, err := r.Process(os.Getpid())
	if err != nil {
		log.Fatal(err)
	}
	ns, err := p.Namespaces.Namespace(nsdiff.Net)
	if err != nil {
		log.Fatal(err) // unknown, or wraps nsdiff.ErrAbsent
	}
	// On a machine: {Host:{Relation:same Proof:first process Cause:} …}
	_ = r.Host().Compare(p.Namespaces, nsdiff.Net)
	fmt.Println("a namespace of the kind", ns.Kind)
	// Output: a namespace of the kind net
}

// parse reads namespaces that were recorded as JSON.
func parse(text string) nsdiff.Set {
	var s nsdiff.Set
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		log.Fatal(err)
	}
	return s
}

const (
	host = `{"net":{"state":"known","value":{"kind":"net","inode":4026531833}},
	         "pid":{"state":"known","value":{"kind":"pid","inode":4026531836}}}`
	web = `{"net":{"state":"known","value":{"kind":"net","inode":4026532300}},
	        "pid":{"state":"known","value":{"kind":"pid","inode":4026532301}}}`
	proxy = `{"net":{"state":"known","value":{"kind":"net","inode":4026532300}},
	          "pid":{"state":"unknown","cause":"readlink /proc/77/ns/pid: permission denied"}}`
)

// What could not be read is unknown, never the same and never another.
func ExampleHost_Compare() {
	node := nsdiff.Host{First: parse(host)}
	fmt.Println(node.Compare(parse(web), nsdiff.PID).Host.Relation)
	fmt.Println(node.Compare(parse(host), nsdiff.PID).Initial.Proof)
	match := node.Compare(parse(proxy), nsdiff.PID).Host
	fmt.Println(match.Relation, "-", match.Cause)
	// Output:
	// other
	// fixed inode
	// unknown - readlink /proc/77/ns/pid: permission denied
}

func ExampleGroups() {
	sets := map[string]nsdiff.Set{"agent": parse(host), "web": parse(web), "proxy": parse(proxy)}
	for _, kind := range []nsdiff.Kind{nsdiff.Net, nsdiff.PID} {
		groups, unknown := nsdiff.Groups(kind, sets)
		for _, g := range groups {
			fmt.Println(g.Namespace, g.Members)
		}
		fmt.Println(kind, "unknown:", unknown)
	}
	// Output:
	// net:[4026531833] [agent]
	// net:[4026532300] [proxy web]
	// net unknown: []
	// pid:[4026531836] [agent]
	// pid:[4026532301] [web]
	// pid unknown: [proxy]
}

// Find what a pod did not ask for.
func ExampleNode_Sharing() {
	node := nsdiff.Node{
		Host: nsdiff.Host{First: parse(host)},
		Pods: []nsdiff.Pod{
			{Name: "shop", Containers: []nsdiff.Container{{ID: "web", Namespaces: parse(web)}, {ID: "proxy", Namespaces: parse(proxy)}}},
			{Name: "agent", HostNetwork: true, Containers: []nsdiff.Container{{ID: "agent", Namespaces: parse(host)}}},
		},
	}
	for _, s := range node.Sharing() {
		if s.Kind == nsdiff.Net || s.Kind == nsdiff.PID {
			fmt.Printf("%s %s: with %v, %s (%s)\n", s.Container, s.Kind, s.With, s.Verdict, s.Reason)
		}
	}
	// Output:
	// web net: with [proxy], expected ()
	// web pid: with [], expected ()
	// proxy net: with [web], expected ()
	// proxy pid: with [], unknown (readlink /proc/77/ns/pid: permission denied)
	// agent net: with [], expected ()
	// agent pid: with [], surprise (the host's)
}

// Who is root in a container outside of it?
func ExampleParseIDMap() {
	m, err := nsdiff.ParseIDMap([]byte("         0     131072      65536\n"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(m.Outside(0))
	fmt.Println(m.Outside(70000))
	fmt.Println(m.Inside(0))
	// Output:
	// 131072 true
	// 0 false
	// 0 false
}
