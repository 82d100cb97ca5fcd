#!/usr/bin/env bash
# Usage: hack/vmtest.sh [--kernel 6.1|5.10] [--gvisor] RUNTIME [TESTFLAG...]
#
# Runs the tests that need a lab on a kernel of their own, 6.1 if none is named, and prints what go test -json does. All is built here, as compiling is
# slow there. This script runs itself again, inside; the flags, as -test.run '^TestLabNS$', go to each package's. With --gvisor the lab has
# gVisor and user namespaces, and only their tests run; without flags they run too, in the same machine, after all others.
# PACKAGES are those whose tests run, all if it is not set.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

guests='^TestLabGVisor'
# What is about containerd alone, counts on its speed, and runs on the machine.
elsewhere='^TestLab(Away|Execs|Flood|Paused|Restarts|Reuse|Short|Slow|Topics|Twins)$'

# inside WORK FLAG...: runs each package's tests where its sources are.
inside() {
	local work=$1 status=0 package folder list=packages tests='^TestLab'
	shift
	if [ -n "${RTINSPECT_LAB_GVISOR:-}" ]; then
		list=guests tests=$guests
	fi
	while read -r package folder; do
		cd "$folder" || exit
		"$work/test2json" -t -p "$package" "$work/${package##*/}.test" -test.v=test2json -test.timeout 15m \
			-test.run "$tests" -test.skip "$elsewhere" "$@" </dev/null || status=1
	done <"$work/$list"
	exit "$status"
}

# boot LABS RUNTIME WORK FLAG...: makes the machine a node, with the profile that a pod asks for, and starts the labs.
boot() {
	local lab status=0 more
	apparmor_parser --add internal/lab/apparmor/k8s-nginx-restrictive || exit
	for lab in $1; do
		more=
		if [ "$lab" = gvisor ]; then
			more='--gvisor --pods pod-gvisor,pod-gvisor-privileged,pod-user-namespace,pod-user-namespace-admin'
		fi
		# shellcheck disable=SC2086 # several words
		bin/lab run --runtime "$2" --exec-tools crictl $more -- hack/vmtest.sh inside "${@:3}" || status=1
	done
	exit "$status"
}

case ${1:-} in
inside | boot) "$@" ;;
esac

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
make --no-print-directory build bin/lab || exit
bin/lab install --runtime "$runtime" --kernel "$kernel" "${tools[@]}" || exit
read -ra packages <<<"${PACKAGES:-./...}"
go test -c -tags "${TAGS:-}" -o "$work/" "${packages[@]}" >/dev/null || exit
CGO_ENABLED=0 go build -o "$work/test2json" cmd/test2json || exit
go list -f '{{.ImportPath}} {{.Dir}}' "${packages[@]}" | while read -r package folder; do
	test=$work/${package##*/}.test
	if [ -x "$test" ] && [ -n "$(cd "$folder" && "$test" -test.list '^TestLab')" ]; then
		echo "$package $folder"
	fi
done >"$work/packages"
while read -r package folder; do
	if [ -n "$(cd "$folder" && "$work/${package##*/}.test" -test.list "$guests")" ]; then
		echo "$package $folder"
	fi
done <"$work/packages" >"$work/guests"
export RTINSPECT_BINARY=$PWD/bin/rtinspect
# Collecting garbage less often spares page faults, which are ten times as slow there.
export GOGC=400
bin/lab vm --kernel "$kernel" --timeout 40m -- hack/vmtest.sh boot "$labs" "$runtime" "$work" "$@"
