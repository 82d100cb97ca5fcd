#!/usr/bin/env bash
# Usage: hack/fuzz.sh DURATION [-json]
#
# Runs every fuzz target of the module for DURATION, one after the other, and prints what go test [-json] does. An input that fails is
# left in its package's testdata/fuzz, to be committed with the fix.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
duration=${1:?usage: $0 DURATION [-json]}
json=${2:-}

status=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cache=$(go env GOCACHE)/fuzz

# once TARGET PACKAGE FOLDER: fuzzes a target of $work/test, as go test would, which links it again for each.
once() {
	local run=("$work/test" -test.run '^$' -test.fuzz "^$1\$" -test.fuzztime "$duration" -test.fuzzcachedir "$cache/$2")
	cd "$3" || exit
	if [ -n "$json" ]; then
		go tool test2json -t -p "$2" "${run[@]}" -test.v=test2json
	else
		"${run[@]}"
	fi
}

# fuzz TARGET PACKAGE FOLDER: once, and again where the only failure is that its own time was over, which happens at times when
# a worker is slow to stop: no input failed then.
fuzz() {
	local result try
	for try in 1 2; do
		(once "$@") >"$work/log"
		result=$?
		if [ $result = 0 ] || [ $try = 2 ] || ! grep -q 'context deadline exceeded' "$work/log" || grep -q 'Failing input written' "$work/log"; then
			cat "$work/log"
			return $result
		fi
	done
}

list=$(go list -f '{{.ImportPath}} {{.Dir}}' ./...) || exit
while read -r package folder; do
	grep -qs '^func Fuzz' "$folder"/*_test.go || continue
	if ! go test -c -fuzz . -tags "${TAGS:-}" -o "$work/test" "$package"; then
		status=1
		continue
	fi
	for target in $(cd "$folder" && "$work/test" -test.list '^Fuzz'); do
		fuzz "$target" "$package" "$folder" || status=1
	done
done <<<"$list"
exit $status
