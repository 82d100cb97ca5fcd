#!/usr/bin/env bash
# Runs everything that must pass, under one test runner: its closing lines list every failed and skipped test of every step, and
# its exit status is that of the whole. A step that fails does not keep the later ones from running.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

if [ "${1:-}" != steps ]; then
	gotestsum=$(hack/tool.sh gotestsum) || exit
	# The steps speak test2json on standard output; 3 is where they tell people of their progress.
	exec 3>&2
	exec "$gotestsum" --format pkgname --format-hide-empty-pkg --raw-command -- hack/test.sh steps
fi

# In CI, where root is expected, its absence is a failure and not a reason to skip.
root=no
if [ "$(id -u)" = 0 ] || [ "${CI:-}" = true ]; then
	root=yes
fi

status=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# say tells of a step that begins.
say() {
	printf '== %s\n' "$*" >&3
}

# took STEP BEGIN: keeps how long a step took, in seconds.
took() {
	printf '%-28s %7d\n' "$1" $((SECONDS - $2)) >>"$work/times"
}

# verdict STEP PASS|FAIL|SKIP SECONDS: reports a step as a package with one test; its output is read from standard input.
verdict() {
	{
		echo '=== RUN   Status'
		cat
		printf '%s %s: Status (%d.00s)\n' --- "$2" "$3"
		if [ "$2" = FAIL ]; then echo FAIL; else echo PASS; fi
	} | go tool test2json -t -p "$1"
}

# check STEP COMMAND...: a command as one test.
check() {
	local step=$1 begin=$SECONDS
	shift
	say "$step"
	if "$@" >"$work/log" 2>&1; then
		verdict "$step" PASS $((SECONDS - begin)) <"$work/log"
	else
		status=1
		verdict "$step" FAIL $((SECONDS - begin)) <"$work/log"
	fi
	took "$step" "$begin"
}

# tests STEP COMMAND...: a command that prints go test -json. The step's name is put behind those of its packages, so that a test
# that runs in several steps can be told apart.
tests() {
	local step=$1 begin=$SECONDS result
	shift
	say "$step"
	"$@" 2>&3 | sed -u "s|\"Package\":\"\([^\"]*\)\"|\"Package\":\"\1 ($step)\"|" | tee "$work/json"
	result=${PIPESTATUS[0]}
	if [ "$result" != 0 ]; then
		status=1
		verdict "$step" FAIL $((SECONDS - begin)) <<<"exit status $result"
	elif ! grep -q '"Action":"run"' "$work/json"; then
		status=1
		verdict "$step" FAIL $((SECONDS - begin)) <<<"ran no test"
	fi
	took "$step" "$begin"
}

# labtests KERNEL RUNTIME STEP COMMAND...: tests in a lab, and their line of the table.
labtests() {
	local kernel=$1 runtime=$2 step=$3 began passed skipped
	: >"$work/json"
	if [ "$root" = yes ]; then
		tests "${@:3}"
	else
		verdict "$step" SKIP 0 <<<"a containerd of its own needs root"
	fi
	began=$(count run) passed=$(count pass) skipped=$(count skip)
	if [ "$began" = 0 ]; then
		printf '%-28s %-16s no test ran\n' "$kernel" "containerd $runtime" >>"$work/table"
		return
	fi
	# What began and has neither passed nor was skipped has failed: a program that died says no word of it.
	printf '%-28s %-16s %7d %7d %8d\n' "$kernel" "containerd $runtime" "$passed" $((began - passed - skipped)) "$skipped" >>"$work/table"
}

# count ACTION: how many of the last tests did so.
count() {
	grep -c "\"Action\":\"$1\",.*\"Test\":" "$work/json"
}

check deps hack/deps.sh test
check build make --no-print-directory build
check lab make --no-print-directory bin/lab
if [ "$root" = yes ]; then
	# Minutes on a new machine, which would count against the time limit of a test that needs it first.
	check install-1.6 bin/lab install --runtime 1.6 crictl
	check install-2.4 bin/lab install --runtime 2.4 crictl vm gvisor
	check install-5.10 bin/lab install --runtime 1.6 --kernel 5.10 crictl vm
fi
# Judging, and showing what was judged, have nothing that runs beside something else, and are most of the tests' work: for them the race
# detector would only be slow.
mapfile -t raced < <(go list ./... | grep -v '/inspect/audit$')
judged='^Test(BashCompletion|FingerprintsStay|JUnit.*|Reports.*|SARIF.*|Sessions)$'
tests unit go test -json -race -tags "${TAGS:-}" -skip "^TestLab|$judged" "${raced[@]}"
tests unit-judged go test -json -tags "${TAGS:-}" -skip '^TestLab' ./inspect/audit
tests unit-shown go test -json -tags "${TAGS:-}" -run "$judged" ./cmd/rtinspect
tests lab-module env -C internal/lab go test -json ./...
# What it reads of docs and testdata is outside of the module, and no part of the key of cached results.
tests psa-module env -C internal/psa go test -json -count=1 ./...
tests formats-module env -C internal/formats go test -json -count=1 ./...
tests fuzz hack/fuzz.sh "${FUZZTIME:-1s}" -json
check build-tests hack/labtests.sh build "$work/built"
export BUILT=$work/built
for runtime in 1.6 2.4; do
	labtests "$(uname -r)" "$runtime" "lab-$runtime" timeout --kill-after=1m 30m bin/lab run --runtime "$runtime" --exec-tools crictl -- \
		hack/labtests.sh run "$BUILT"
	if [ "$root" = yes ]; then
		tests "lab-$runtime-named" timeout --kill-after=1m 10m bin/lab run --runtime "$runtime" --pods pod-user-namespace-admin -- \
			hack/labtests.sh run "$BUILT" -test.run '^TestLabUserNamespaceAdmin$'
	fi
done
# The same on a kernel with cgroup v2, AppArmor and a root with every capability. Beside the labs it would save little: both are busy.
labtests '6.1 (virtual machine)' 2.4 lab-vm-2.4 timeout --kill-after=1m 42m hack/vmtest.sh 2.4
# An older one, with the older runtime: what depends on the kernel.
PACKAGES='./cgroup ./nsdiff ./inspect/... ./examples/limits' labtests '5.10 (virtual machine)' 1.6 lab-vm-5.10 \
	timeout --kill-after=1m 30m hack/vmtest.sh --kernel 5.10 1.6 \
	-test.skip '^TestLab(Chroot|Exec.*|FromOutside|HungShim|OfAnotherContainer|RedactArgs|Resolve|ShortLived|UnsharedInside)$'
check lint hack/lint.sh
{
	took whole 0
	printf '\n%-28s %7s\n' STEP SECONDS
	cat "$work/times"
	printf '\n%-28s %-16s %7s %7s %8s\n' KERNEL RUNTIME PASSED FAILED SKIPPED
	cat "$work/table"
} >&3
exit "$status"
