#!/bin/sh
# Fetches Debian's tc and strace for arm64, with the libraries that they need, into
# out/tc: what the testbed's machine has in /usr/bin, to compare with and to look with.
# This machine's package system is not touched. Runs once.
set -eu
cd "$(dirname "$0")/.."
. scripts/debian-arm64.sh
out=$PWD/out/tc
if [ -s "$out/release" ] && [ -e "$out/root/usr/bin/strace" ]; then
	echo "tc: $(cat "$out/release") (cached in out/tc)"
	exit 0
fi
rm -rf "$out"
mkdir -p "$out/deb"
echo "tc: reading Debian's package lists for arm64"
debian_apt "$out/apt" arm64
# What the two depend on, and they in turn, as far as files of theirs are libraries.
packages="iproute2 libbpf1 libbsd0 libc6 libcap2 libelf1 libmd0 libmnl0 libxtables12 strace zlib1g"
echo "tc: downloading$(printf ' %s' $packages)"
# shellcheck disable=SC2086
(cd "$out/apt/download" && apt-get -qq download $packages)
for package in "$out"/apt/download/*.deb; do
	dpkg-deb -x "$package" "$out/deb"
done
mkdir -p "$out/root/usr/bin" "$out/root/lib/aarch64-linux-gnu"
cp -L "$out/deb/sbin/tc" "$out/deb/usr/bin/strace" "$out/root/usr/bin/"
cp -L "$out/deb/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1" "$out/root/lib/"
for library in libc.so.6 libm.so.6 libbpf.so.1 libbsd.so.0 libcap.so.2 libelf.so.1 libmd.so.0 libmnl.so.0 libxtables.so.12 libz.so.1; do
	found=$(find "$out/deb" -name "$library" | head -n 1)
	[ -n "$found" ] || { echo "tc: no package has $library" >&2; exit 1; }
	cp -L "$found" "$out/root/lib/aarch64-linux-gnu/"
done
version=$(basename "$out"/apt/download/iproute2_*.deb)
rm -rf "$out/deb" "$out/apt"
echo "${version%_arm64.deb}" >"$out/release"
echo "tc: $(cat "$out/release")"
