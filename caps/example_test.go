package caps_test

import (
	"encoding/json"
	"fmt"
	"log"

	"github.com/rtinspect/rtinspect/caps"
)

// Decode the CapEff line of a container, as `capsh --decode` does.
func ExampleParseMask() {
	set, err := caps.ParseMask("00000000a80425fb")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(set.Len(), "capabilities:", set)
	fmt.Println(set.Decode())

	_, err = caps.ParseMask("0xZZ")
	fmt.Println(err)
	// Output:
	// 14 capabilities: CAP_CHOWN,CAP_DAC_OVERRIDE,CAP_FOWNER,CAP_FSETID,CAP_KILL,CAP_SETGID,CAP_SETUID,CAP_SETPCAP,CAP_NET_BIND_SERVICE,CAP_NET_RAW,CAP_SYS_CHROOT,CAP_MKNOD,CAP_AUDIT_WRITE,CAP_SETFCAP
	// 0x00000000a80425fb=cap_chown,cap_dac_override,cap_fowner,cap_fsetid,cap_kill,cap_setgid,cap_setuid,cap_setpcap,cap_net_bind_service,cap_net_raw,cap_sys_chroot,cap_mknod,cap_audit_write,cap_setfcap
	// invalid syntax: mask "0xZZ": want 1 to 16 hexadecimal digits such as a80425fb
}

func ExampleParseNames() {
	set, err := caps.ParseNames("NET_ADMIN", "cap_chown", "CAP_63")
	if err != nil {
		log.Fatal(err)
	}
	data, err := json.Marshal(set)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(set.Mask())
	fmt.Println(string(data))
	// Output:
	// 8000000000001001
	// ["CAP_CHOWN","CAP_NET_ADMIN","CAP_63"]
}

// Say how a container differs from the default of its runtime.
func ExampleSet_Diff() {
	set := caps.DefaultContainerd.Union(caps.Of(caps.SysAdmin)).Minus(caps.Of(caps.NetRaw))
	diff := set.Diff(caps.DefaultContainerd)
	fmt.Println("added:", diff.Added)
	fmt.Println("removed:", diff.Removed)
	// Output:
	// added: CAP_SYS_ADMIN
	// removed: CAP_NET_RAW
}

func ExampleSet_All() {
	for c := range caps.Of(caps.SysModule, caps.Chown).All() {
		info := c.Info()
		fmt.Printf("%s (%s): %s\n", c, info.Danger, info.Allows)
		if info.Escape != "" {
			fmt.Println("  ", info.Escape, info.Refs)
		}
	}
	// Output:
	// CAP_CHOWN (medium): Give any file to any user and group.
	//    In a writable host directory, takes over files of any owner by giving them to itself. [chown(2) T1611]
	// CAP_SYS_MODULE (critical): Load and unload kernel modules.
	//    Loads a module that runs as the kernel, unless kernel.modules_disabled or lockdown forbids it. [init_module(2) T1611 T1547.006]
}

// Read a process through the /proc of a host that is mounted somewhere else, such as on /host/proc.
func ExampleReader_Process() {
	r := caps.Reader{Proc: "testdata/proc"}
	last, err := r.LastCap()
	if err != nil {
		log.Fatal(err)
	}
	state, err := r.Process(4012)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(state.Effective == caps.DefaultContainerd)
	fmt.Println("no_new_privs is", state.NoNewPrivs)
	fmt.Println(state.Text(last))
	// Output:
	// true
	// no_new_privs is on
	// cap_chown,cap_dac_override,cap_fowner,cap_fsetid,cap_kill,cap_setgid,cap_setuid,cap_setpcap,cap_net_bind_service,cap_net_raw,cap_sys_chroot,cap_mknod,cap_audit_write,cap_setfcap=ep
}

// A process that is not root has no effective capabilities, but may get what its bounding set leaves.
func ExampleState_Reach() {
	state := caps.State{Bounding: caps.DefaultCRIO, NoNewPrivs: caps.NoNewPrivsOff}
	reach := state.Reach(caps.UserNSInitial)
	fmt.Println("now:", reach.Now)
	fmt.Println("with a set-user-ID program:", reach.OnExec)
	fmt.Println("danger of CAP_SETUID:", reach.Danger(caps.Setuid))

	state.NoNewPrivs = caps.NoNewPrivsOn
	fmt.Println("with no_new_privs:", state.Reach(caps.UserNSInitial).OnExec)
	// Output:
	// now: none
	// with a set-user-ID program: CAP_CHOWN,CAP_DAC_OVERRIDE,CAP_FOWNER,CAP_FSETID,CAP_KILL,CAP_SETGID,CAP_SETUID,CAP_SETPCAP,CAP_NET_BIND_SERVICE
	// danger of CAP_SETUID: medium
	// with no_new_privs: none
}
