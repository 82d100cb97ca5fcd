#!/usr/bin/env bash
# Switches off each rule of inspect/audit, and each check of the Pod Security Standards, one after the other: it then passes whatever
# the facts are, and a test must fail. It is done in a copy, so that nothing of it is in what is built here.
set -euo pipefail
cd "$(dirname "$0")/.."

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z --cached --others --exclude-standard -- go.mod go.sum '*.go' 'inspect/audit/testdata' docs | tar --null -cf - -T - | tar -xf - -C "$copy"

# A variable says what to switch off, so that the tests are built once.
# patch FILE LINE: puts a line behind the one that begins a function.
patch() {
	sed -i "s|^$2\$|&\n\t$3|; 0,/^import (/s||import (\n\t\"os\"|" "$copy/inspect/audit/$1"
	if ! grep -qF MUTATE "$copy/inspect/audit/$1"; then
		echo "mutate: inspect/audit/$1 has no line $2" >&2
		exit 1
	fi
}
patch judge.go 'func (r Rule) result(o outcome) Result {' 'if os.Getenv("MUTATE") == r.ID { o = outcome{claim: claim{truth: no}} }'
patch podsecurity.go 'func (check podCheck) judgment(p \*podFacts, version int) Judgment {' \
	'if os.Getenv("MUTATE") == "pss:"+check.id { return Judgment{Verdict: Pass} }'

(cd "$copy" && go test -tags "${TAGS:-}" -c -o "$copy/audit.test" ./inspect/audit)
mutants=$(
	go run -tags "${TAGS:-}" ./cmd/rtinspect explain -q
	sed -n 's/^\t\t\tid: "\([a-zA-Z_]*\)".*/pss:\1/p' inspect/audit/podchecks.go
)
cd "$copy/inspect/audit"

# noticed MUTANT: its own cases are tried first, which takes no time, then what looks at whole nodes.
noticed() {
	local name=${1#pss:}
	! MUTATE=$1 "$copy/audit.test" -test.run "^(TestRules|TestPodChecks)\$/^$name\$" >/dev/null 2>&1 ||
		! MUTATE=$1 "$copy/audit.test" -test.run '^(TestFindings|TestPaths|TestPodLevels)$' >/dev/null 2>&1
}

if noticed none; then
	echo 'mutate: the tests fail with every rule on' >&2
	exit 1
fi
survivors=
for mutant in $mutants; do
	noticed "$mutant" || survivors+=" $mutant"
done
echo "$(wc -w <<<"$mutants") rules and checks switched off, $(wc -w <<<"$survivors") not noticed:${survivors:- none}"
[ -z "$survivors" ]
