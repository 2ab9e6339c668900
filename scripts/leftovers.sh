#!/bin/sh
# Fails if a test has left a namespace, a process or a run directory behind.
set -eu
bad=0
for p in dpmip-agent dpmip-mgmt dpmip-router dpmip-lab; do
	if pgrep -x "$p" >/dev/null; then
		echo "still running: $(pgrep -ax "$p")" >&2
		bad=1
	fi
done
for mount in $(awk '$3 == "nsfs" || $3 == "bpf" {print $2}' /proc/mounts | grep dpmip || true); do
	echo "still mounted: $mount" >&2
	bad=1
done
exit $bad
