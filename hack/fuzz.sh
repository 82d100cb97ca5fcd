#!/usr/bin/env bash
# Usage: hack/fuzz.sh DURATION [FLAG...]
#
# Runs every fuzz target of the module for DURATION, one after the other; the flags go to each of these go test runs. An input that
# fails is left in its package's testdata/fuzz, to be committed with the fix.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
duration=${1:?usage: $0 DURATION [FLAG...]}
shift

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
			go test -tags "${TAGS:-}" "$@" -run '^$' -fuzz "^$target\$" -fuzztime "$duration" "$package" || status=1
		done
		targets=()
		;;
	esac
done <<<"$list"
if [ $status != 0 ]; then
	grep -v -e '^ok' -e '^Fuzz' -e 'no test files' <<<"$list" >&2
fi
exit $status
