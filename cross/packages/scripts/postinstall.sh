#!/bin/sh
# A new program takes over from the running one; what that has programmed stays.
# Nothing is started that was not running: a daemon first needs its
# configuration. In a root that is being built there is no systemd to talk to.
set -e
[ -d /run/systemd/system ] && [ -z "${DPKG_ROOT:-}" ] || exit 0
systemctl daemon-reload || true
systemctl try-restart "@UNIT@" || true
