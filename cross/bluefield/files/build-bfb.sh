#!/bin/sh
# Builds a boot stream that brings dpmip-agent @VERSION@ along: NVIDIA's BFB, with
# the package and its configuration in a second archive behind the installer's
# initramfs. Needs mlx-mkbfb (package mlxbf-bfscripts) and cpio.
# usage: build-bfb.sh ORIGINAL.bfb OUT.bfb dpmip-agent_VERSION_arm64.deb [agent.toml]
set -eu
[ $# -ge 3 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
original=$(readlink -f "$1")
out=$2
deb=$(readlink -f "$3")
config=
[ $# -lt 4 ] || config=$(readlink -f "$4")
here=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/extra/dpmip" "$work/parts"
cp "$deb" "$work/extra/dpmip/dpmip-agent.deb"
[ -z "$config" ] || install -m 0600 "$config" "$work/extra/dpmip/agent.toml"
(cd "$work/extra" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) >"$work/extra.cpio"
cd "$work/parts"
mlx-mkbfb -x "$original" # writes dump-KIND-vN for every part
initramfs=$(ls dump-initramfs-v* | head -n 1)
[ -n "$initramfs" ] || { echo "$original has no initramfs: it installs nothing" >&2; exit 1; }
# Archives are read one after the other, each at a multiple of four bytes.
size=$(wc -c <"$initramfs")
pad=$(((4 - size % 4) % 4))
[ $pad = 0 ] || head -c $pad /dev/zero >>"$initramfs"
cat "$work/extra.cpio" >>"$initramfs"
case $out in /*) ;; *) out=$here/$out ;; esac
mlx-mkbfb --initramfs "$initramfs" "$original" "$out"
echo "$out: install it with bfb-install --bfb $out --config bf.cfg --rshim rshim0"
