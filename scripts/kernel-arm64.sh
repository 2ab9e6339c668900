#!/bin/sh
# Fetches Debian's arm64 cloud kernel, with its modules, into out/kernel without
# touching this machine's package system: apt works on a state of its own.
# usage: kernel-arm64.sh [metapackage]
# Leaves out/kernel/{vmlinuz,modules/,release}; prints what it does; runs once.
set -eu
cd "$(dirname "$0")/.."
. scripts/debian-arm64.sh
meta=${1:-linux-image-6.12-cloud-arm64}
out=$PWD/out/kernel
if [ -s "$out/release" ] && [ -s "$out/vmlinuz" ]; then
	echo "kernel: $(cat "$out/release") (cached in out/kernel)"
	exit 0
fi
apt=$out/apt
rm -rf "$out/root" "$out/modules"
mkdir -p "$out"
echo "kernel: reading Debian's package lists for arm64"
debian_apt "$apt" arm64
if ! apt-cache show "$meta" >/dev/null 2>&1; then
	echo "kernel: $meta is not in the sources of this machine" >&2
	exit 1
fi
name=$(apt-cache depends "$meta" | sed -n 's/^ *Depends: *\(linux-image-[0-9].*\)$/\1/p' | head -n 1)
[ -n "$name" ] || { echo "kernel: $meta names no kernel" >&2; exit 1; }
echo "kernel: downloading $name"
(cd "$apt/download" && rm -f ./*.deb && apt-get -qq download "$name")
dpkg-deb -x "$apt"/download/linux-image-*.deb "$out/root"
release=$(ls "$out/root/lib/modules" 2>/dev/null || ls "$out/root/usr/lib/modules")
mv "$out"/root/lib/modules "$out/modules" 2>/dev/null || mv "$out"/root/usr/lib/modules "$out/modules"
cp "$out/root/boot/vmlinuz-$release" "$out/vmlinuz"
cp "$out/root/boot/config-$release" "$out/config"
rm -rf "$out/root" "$apt/download"
echo "$release" >"$out/release"
echo "kernel: $release"
