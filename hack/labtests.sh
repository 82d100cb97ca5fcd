#!/usr/bin/env bash
# Usage: hack/labtests.sh build FOLDER
#        hack/labtests.sh list FOLDER PATTERN [PACKAGE...]
#        hack/labtests.sh run FOLDER [TESTFLAG...]
#
# The tests that need a lab: built once into a folder, they run in several labs. list prints the packages that have tests of that
# pattern, with their folders. run, which needs make build, is for the command of bin/lab run; it prints what go test -json does. The flags, as
# -test.run '^TestLabNS$', go to each package's tests; LIST is a file with what list printed, all packages if it is not set.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

build() {
	mkdir -p "$1"
	go test -c -tags "${TAGS:-}" -ldflags "-s -w" -o "$1/" ./... >/dev/null || return
	CGO_ENABLED=0 go build -o "$1/test2json" cmd/test2json || return
	list "$1" '^TestLab' >"$1/packages"
}

list() {
	local from=$1 pattern=$2 package folder test names
	shift 2
	go list -f '{{.ImportPath}} {{.Dir}}' "${@:-./...}" | while read -r package folder; do
		test=$from/${package##*/}.test
		[ -x "$test" ] || continue # it has no tests
		names=$(cd "$folder" && "$test" -test.list "$pattern") || return # rather than to leave them out
		if [ -n "$names" ]; then
			echo "$package $folder"
		fi
	done
}

# run takes one package at a time, as a test that stops a shim would disturb the others, where its sources are.
run() {
	local from=$1 status=0 package folder
	shift
	export RTINSPECT_BINARY=$PWD/bin/rtinspect
	while read -r package folder; do
		cd "$folder" || return
		"$from/test2json" -t -p "$package" "$from/${package##*/}.test" -test.v=test2json -test.timeout 30m -test.run '^TestLab' "$@" </dev/null || status=1
	done <"${LIST:-$from/packages}"
	return "$status"
}

case ${1:-} in
build | list | run) "$@" ;;
*)
	sed -n '2,4s/^# //p' "$0" >&2
	exit 2
	;;
esac
