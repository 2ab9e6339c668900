#!/bin/sh
# Takes NAME.hex again (last by iproute2 6.1.0): the RTM_NEWTFILTER message that iproute2's tc sends for
# each line "NAME: ARGUMENTS" of filters.txt, and its RTM_DELTFILTER for the line "delete". Run as root, with strace; in a network
# namespace of its own, where the ports va and vb have the indices 100 and 101.
# The kernel may refuse the filter: what was sent counts.
set -eu
cd "$(dirname "$0")"
[ "${1-}" = inside ] || exec unshare -n sh capture.sh inside
ip link add va index 100 type veth peer name vb index 101
while IFS=: read -r name args; do
	case $name in ''|'#'*) continue ;; delete) verb=delete type=2d00 ;; *) verb=add type=2c00 ;; esac
	eval "set -- $args"
	# The type (RTM_NEWTFILTER, RTM_DELTFILTER) is in bytes 4 and 5; the sequence number (bytes 8 to 11) is written as zeros
	strace -qq -e trace=sendmsg -e write=all tc filter $verb dev va ingress "$@" 2>&1 >/dev/null | awk -v type=$type '
		function flush(n, b, i) {
			n = split(m, b, " "); m = ""
			if (b[5] b[6] != type) return
			for (i = 1; i <= n; i++) printf("%s%s", ((i > 8 && i < 13) ? "00" : b[i]), ((i % 16 && i < n) ? " " : "\n"))
		}
		/^ \| 00000 / { flush() }
		/^ \| / { m = m " " substr($0, 11, 49) }
		END { flush() }' >"$name.hex"
	[ -s "$name.hex" ] || { echo "$name: tc sent no filter" >&2; strace -e trace=sendmsg tc filter $verb dev va ingress "$@" 2>&1 | tail -3 >&2; }
done <filters.txt
