#!/bin/sh
# Builds the module netdevsim, which no Debian kernel has, for the kernel in
# out/kernel, from Debian's source and headers of the same version, into
# out/kernel/netdevsim.ko. It downloads 170 MB, once for each kernel.
set -eu
cd "$(dirname "$0")/.."
. scripts/debian-arm64.sh
out=$PWD/out/kernel
release=$(cat "$out/release")
if [ -s "$out/netdevsim.ko" ] && grep -qa "vermagic=$release " "$out/netdevsim.ko"; then
	echo "netdevsim: for $release (cached in out/kernel)"
	exit 0
fi
base=${release%-cloud-arm64}
work=$out/netdevsim
rm -rf "$work"
mkdir -p "$work/root" "$work/source"
echo "netdevsim: reading Debian's package lists"
debian_apt "$work/apt" arm64 "$(dpkg --print-architecture)"
version=$(apt-cache show "linux-headers-$release:arm64" | sed -n 's/^Version: //p' | head -n 1)
[ -n "$version" ] || { echo "netdevsim: Debian has no headers of $release any more: rm -r out/kernel, and again" >&2; exit 1; }
echo "netdevsim: downloading source and headers of $version"
(cd "$work/apt/download" && apt-get -qq download "linux-headers-$release:arm64=$version" "linux-headers-$base-common=$version" \
	"linux-kbuild-$base:$(dpkg --print-architecture)=$version" "linux-source-${release%%.*}.$(echo "$release" | cut -d. -f2)=$version")
for package in "$work"/apt/download/linux-headers-*.deb "$work"/apt/download/linux-kbuild-*.deb; do
	dpkg-deb -x "$package" "$work/root"
done
folder=drivers/net/netdevsim
source=$(dpkg-deb -c "$work"/apt/download/linux-source-*.deb | sed -n 's#.* \./\(usr/src/linux-source-[0-9.]*\.tar\.xz\)$#\1#p')
name=$(basename "$source" .tar.xz)
dpkg-deb --fsys-tarfile "$work"/apt/download/linux-source-*.deb | tar -xO "./$source" | xz -dc | tar -x -C "$work/source" "$name/$folder"
headers=$work/root/usr/src/linux-headers-$release
sed -i "s#/usr/src/#$work/root/usr/src/#g" "$headers/Makefile"
echo "netdevsim: building"
# Without the types of the module, which would need the kernel's own ELF file.
make -s -C "$headers" M="$work/source/$name/$folder" ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- CC=aarch64-linux-gnu-gcc \
	CONFIG_NETDEVSIM=m CONFIG_DEBUG_INFO_BTF_MODULES= modules
cp "$work/source/$name/$folder/netdevsim.ko" "$out/netdevsim.ko"
aarch64-linux-gnu-strip --strip-debug "$out/netdevsim.ko"
rm -rf "$work"
echo "netdevsim: out/kernel/netdevsim.ko, $(wc -c <"$out/netdevsim.ko") bytes"
