#!/bin/sh
# $1 is "remove" (deb) or 0 (rpm) when the package goes, something else when it
# is replaced: then the daemon goes on until postinstall restarts it.
set -e
case "${1:-}" in remove | 0) ;; *) exit 0 ;; esac
[ -d /run/systemd/system ] && [ -z "${DPKG_ROOT:-}" ] || exit 0
systemctl disable --now "@UNIT@" || true
