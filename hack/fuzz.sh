#!/usr/bin/env bash
# Usage: hack/fuzz.sh DURATION [FLAG...]
#
# Runs every fuzz target of the module for DURATION, one after the other; the flags go to each of these go test runs. An input that
# fails is left in its package's testdata/fuzz, to be committed with the fix.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
duration=${1:?usage: $0 DURATION [FLAG...]}
shift

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# fuzz FLAG...: go test, and once more where the only failure is that its own time was over, which happens at times when a worker is
# slow to stop: no input failed then.
fuzz() {
	local result try
	for try in 1 2; do
		go test -tags "${TAGS:-}" "$@" >"$log"
		result=$?
		if [ $result = 0 ] || [ $try = 2 ] || ! grep -q 'context deadline exceeded' "$log" || grep -q 'Failing input written' "$log"; then
			cat "$log"
			return $result
		fi
	done
}

status=0
list=$(go test -tags "${TAGS:-}" -list '^Fuzz' ./...) || status=1
targets=()
while read -r first package _; do
	case $first in
	Fuzz*)
		targets+=("$first")
		;;
	ok)
		for target in "${targets[@]}"; do
			fuzz "$@" -run '^$' -fuzz "^$target\$" -fuzztime "$duration" "$package" || status=1
		done
		targets=()
		;;
	esac
done <<<"$list"
if [ $status != 0 ]; then
	grep -v -e '^ok' -e '^Fuzz' -e 'no test files' <<<"$list" >&2
fi
exit $status
