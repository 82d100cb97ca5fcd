#!/usr/bin/env bash
# Shows rtinspect at work on a private containerd that is started for it and removed afterwards. The lab runs this script again,
# inside, for the session itself.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

if [ -n "${RTINSPECT_LAB:-}" ]; then
	PATH=$PWD/bin:$PATH
	failed=0
	while read -r line; do
		printf '$ %s\n' "$line"
		read -ra command <<<"$line"
		"${command[@]}" </dev/null || {
			echo "(exit status $?)"
			failed=1
		}
		echo
	done <<'SESSION'
rtinspect ps
rtinspect caps pod-default-caps
rtinspect caps pod-no-caps
rtinspect caps pod-privileged
rtinspect inspect pod-hardened
SESSION
	exit "$failed"
fi

runtime=${RUNTIME:-1.6}
if [ "$(id -u)" != 0 ]; then
	cat >&2 <<-'END'
		demo: needs root: it starts a containerd with pods of its own, and reads the namespaces of their processes
		demo: with root:    sudo env "PATH=$PATH" make demo
		demo: without root: bin/rtinspect caps --pid $$     shows your shell's capabilities and needs nothing
	END
	exit 1
fi
cat >&2 <<-END
	demo: starts a private containerd $runtime with four pods; your own runtimes, images and networks are not touched
	demo: installs what is missing of Debian's containerd and runc (to run the pods), containernetworking-plugins (their network)
	demo: and busybox-static (what runs in them); with RUNTIME=2.4 it builds containerd from source instead, once, in minutes
	demo: everything started is removed at the end; the packages stay
END
exec bin/lab run --runtime "$runtime" --pods pod-default-caps,pod-no-caps,pod-privileged,pod-hardened -- hack/demo.sh
