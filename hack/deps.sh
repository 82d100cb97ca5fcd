#!/usr/bin/env bash
# Usage: hack/deps.sh test|lint|bench
#
# Makes sure that the programs which the tests or the lint compare with or run are there. As root on a Debian-like machine it
# installs those missing; otherwise it says what is missing and for what, and exits 1.
set -euo pipefail

packages=()
reasons=()

# need PACKAGE REASON TEST...: PACKAGE is missing where TEST fails.
need() {
	local package=$1 reason=$2
	shift 2
	if ! "$@" >/dev/null 2>&1; then
		packages+=("$package")
		reasons+=("$package ($reason)")
	fi
}

case ${1:-} in
test)
	need gcc 'the race detector and small C programs in tests' command -v gcc
	need libc6-dev 'the race detector and small C programs in tests' test -e /usr/include/stdlib.h
	need libcap2-bin 'capsh and getpcaps, to compare with' command -v capsh
	need libcap-dev 'the capability names of libcap, to compare with' test -e /usr/include/sys/capability.h
	need strace 'to show that rtinspect only reads' command -v strace
	need chromium 'a browser, to look at pages' command -v chromium
	need libxml2-utils 'xmllint, to read what is written as XML' command -v xmllint
	need util-linux 'unshare and lsns, to make namespaces and compare with' command -v unshare
	;;
bench)
	need time 'GNU time, to measure memory' test -x /usr/bin/time
	;;
lint)
	need shellcheck 'to check the shell scripts' command -v shellcheck
	;;
*)
	echo "usage: $0 test|lint|bench" >&2
	exit 2
	;;
esac

if [ ${#packages[@]} = 0 ]; then
	exit 0
fi
list=$(printf ', %s' "${reasons[@]}")
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "deps: missing ${list#, }" >&2
	echo "deps: as root on Debian: apt-get install ${packages[*]}" >&2
	exit 1
fi
echo "deps: installing ${list#, }" >&2
install() {
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" </dev/null
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The package list of a new machine is empty or old.
if ! install >"$log" 2>&1 && ! { apt-get update -qq && install; } >"$log" 2>&1; then
	cat "$log" >&2
	exit 1
fi
