#!/usr/bin/env bash
# Usage: hack/tool.sh NAME
#
# Prints the path of a build tool at the version pinned here, and builds it where it is missing. Tools are kept in the user's cache,
# one folder for each version and Go release, and stay out of go.mod.
set -euo pipefail

case ${1:-} in
gotestsum)
	version=v1.13.0
	package=gotest.tools/gotestsum
	;;
golangci-lint)
	version=v2.15.0
	package=github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	;;
*)
	echo "usage: $0 gotestsum|golangci-lint" >&2
	exit 2
	;;
esac

# A linter must be built with a Go release no older than the one it checks for.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/rtinspect-tools
folder=$cache/$1-$version-$(go env GOVERSION)
if [ ! -x "$folder/$1" ]; then
	echo "tool: building $1 $version into $folder, once" >&2
	mkdir -p "$cache"
	new=$(mktemp -d "$cache/new.XXXXXX")
	trap 'rm -rf "$new"' EXIT
	log=$new/log
	if ! (cd "$new" && GOBIN=$new CGO_ENABLED=0 GOFLAGS='' go install "$package@$version") >"$log" 2>&1; then
		cat "$log" >&2
		exit 1
	fi
	mkdir -p "$folder"
	mv "$new/$1" "$folder/$1"
fi
echo "$folder/$1"
