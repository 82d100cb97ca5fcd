#!/usr/bin/env bash
# Lints all modules and the shell scripts. Everything is looked at, even after a finding.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

status=0
hack/deps.sh lint || status=1
golangci=$(hack/tool.sh golangci-lint) || exit
"$golangci" run --allow-serial-runners ./... || status=1
for module in internal/formats internal/lab internal/psa; do
	(cd "$module" && "$golangci" run --allow-serial-runners --config ../../.golangci.yml ./...) || status=1
done
if command -v shellcheck >/dev/null; then
	shellcheck hack/*.sh .ci/run || status=1
fi
exit "$status"
