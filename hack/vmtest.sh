#!/usr/bin/env bash
# Usage: hack/vmtest.sh [--kernel 6.1|5.10] RUNTIME [TESTFLAG...]
#
# Runs the tests that need a lab on a kernel of their own, 6.1 if none is named, and prints what go test -json does. All is built here, as compiling is
# slow there. This script runs itself again, inside; the flags, as -test.run '^TestLabNS$', go to each package's.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

# inside WORK FLAG...: runs each package's tests where its sources are.
inside() {
	local work=$1 status=0 package folder
	shift
	while read -r package folder; do
		cd "$folder" || exit
		"$work/test2json" -t -p "$package" "$work/${package##*/}.test" -test.v=test2json -test.timeout 15m \
			-test.run '^TestLab' "$@" </dev/null || status=1
	done <"$work/packages"
	exit "$status"
}

# boot RUNTIME WORK FLAG...: makes the machine a node, with the profile that a pod asks for, and starts the lab.
boot() {
	apparmor_parser --add internal/lab/apparmor/k8s-nginx-restrictive || exit
	exec bin/lab run --runtime "$1" --exec-tools crictl -- hack/vmtest.sh inside "${@:2}"
}

case ${1:-} in
inside | boot) "$@" ;;
esac

kernel=6.1
if [ "${1:-}" = --kernel ]; then
	kernel=${2:-}
	shift 2
fi
runtime=${1:?usage: $0 [--kernel 6.1|5.10] RUNTIME [TESTFLAG...]}
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
make --no-print-directory build bin/lab || exit
bin/lab install --runtime "$runtime" --kernel "$kernel" crictl vm || exit
go test -c -tags "${TAGS:-}" -o "$work/" ./... >/dev/null || exit
CGO_ENABLED=0 go build -o "$work/test2json" cmd/test2json || exit
go list -f '{{.ImportPath}} {{.Dir}}' ./... | while read -r package folder; do
	test=$work/${package##*/}.test
	if [ -x "$test" ] && [ -n "$(cd "$folder" && "$test" -test.list '^TestLab')" ]; then
		echo "$package $folder"
	fi
done >"$work/packages"
export RTINSPECT_BINARY=$PWD/bin/rtinspect
# Collecting garbage less often spares page faults, which are ten times as slow there.
export GOGC=400
bin/lab vm --kernel "$kernel" --timeout 25m -- hack/vmtest.sh boot "$runtime" "$work" "$@"
