#!/usr/bin/env bash
# Usage: hack/vmtest.sh [--kernel 6.1|5.10] [--gvisor] RUNTIME [TESTFLAG...]
#
# Runs the tests that need a lab on a kernel of their own, 6.1 if none is named, and prints what go test -json does. All is built here, as
# compiling is slow there, unless BUILT is the folder that hack/labtests.sh built it in. This script runs itself again, inside; the flags, as
# -test.run '^TestLabNS$', go to each package's. With --gvisor the lab has gVisor, user namespaces and a writable cgroup, and only their
# tests run; without flags they run too, in the same machine, after all others. PACKAGES are those whose tests run, all if it is not set.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

# What needs pods that only the second lab has.
guests='^TestLab(GVisor|CgroupWritable)'
# What has nothing to do with the kernel, or is about containerd alone and counts on its speed: it runs on the machine.
elsewhere='^TestLab(Away|Completion|Execs|Flood|Paused|PausedInGap|Refs|Restarts|Reuse|Short|Slow|Topics|Twins|UnprivilegedRecorded)$'

# boot LABS RUNTIME LISTS BUILT FLAG...: makes the machine a node, with the profile that a pod asks for, and starts the labs.
boot() {
	local lab pods tests status=0
	apparmor_parser --add internal/lab/apparmor/k8s-nginx-restrictive || exit
	for lab in $1; do
		pods=() tests=(-test.skip "$elsewhere")
		if [ "$lab" = gvisor ]; then
			pods=(--gvisor --pods "pod-gvisor,pod-gvisor-privileged,pod-user-namespace,pod-user-namespace-admin,pod-cgroup-writable")
			tests=(-test.run "$guests")
		fi
		LIST=$3/$lab bin/lab run --runtime "$2" --exec-tools crictl "${pods[@]}" -- hack/labtests.sh run "$4" "${tests[@]}" "${@:5}" || status=1
	done
	exit "$status"
}

if [ "${1:-}" = boot ]; then
	"$@"
fi

kernel=6.1
if [ "${1:-}" = --kernel ]; then
	kernel=${2:-}
	shift 2
fi
labs=plain
if [ "${1:-}" = --gvisor ]; then
	labs=gvisor
	shift
fi
runtime=${1:?usage: $0 [--kernel 6.1|5.10] [--gvisor] RUNTIME [TESTFLAG...]}
shift
if [ $# = 0 ] && [ "$labs $runtime $kernel" = 'plain 2.4 6.1' ]; then
	labs='plain gvisor'
fi
tools=(crictl vm)
if [ "$labs" != plain ]; then
	tools+=(gvisor)
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
built=${BUILT:-$work/built}
if [ -z "${BUILT:-}" ]; then
	make --no-print-directory build bin/lab || exit
	bin/lab install --runtime "$runtime" --kernel "$kernel" "${tools[@]}" || exit
	hack/labtests.sh build "$built" || exit
fi
read -ra packages <<<"${PACKAGES:-./...}"
hack/labtests.sh list "$built" '^TestLab' "${packages[@]}" >"$work/plain" || exit
hack/labtests.sh list "$built" "$guests" "${packages[@]}" >"$work/gvisor" || exit
# Collecting garbage less often spares page faults, which are ten times as slow there.
export GOGC=400
bin/lab vm --kernel "$kernel" --timeout 40m -- hack/vmtest.sh boot "$labs" "$runtime" "$work" "$built" "$@"
