#!/bin/sh
# Installs the Debian packages and Go modules that a make target needs, and says so.
# usage: deps.sh demo|test|generate|firmware|testbed|netdevsim
set -eu
need=""
want() { # command package
	command -v "$1" >/dev/null 2>&1 || need="$need $2"
}
case "${1:-}" in
demo) ;;
test | generate)
	want clang clang
	want llvm-strip llvm
	want protoc protobuf-compiler
	[ -e /usr/include/bpf/bpf_helpers.h ] || need="$need libbpf-dev"
	[ -e /usr/include/asm-generic/types.h ] || need="$need linux-libc-dev"
	if [ "$1" = test ]; then
		want tc iproute2
		want strace strace
		want nft nftables
		want named bind9
		want nsupdate bind9-dnsutils
		want vtysh frr
		want bird bird2
		want etcd etcd-server
		want cpio cpio
		want groff groff-base
	fi
	;;
firmware | testbed | netdevsim)
	[ "$1" != testbed ] || want qemu-aarch64-static qemu-user-static
	if [ "$1" = netdevsim ]; then
		want aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
		want make make
	fi
	want xz xz-utils
	want cpio cpio
	want dpkg-deb dpkg
	want mke2fs e2fsprogs
	want qemu-system-aarch64 qemu-system-arm
	;;
*)
	echo "usage: $0 demo|test|generate|firmware|testbed|netdevsim" >&2
	exit 2
	;;
esac
if [ -n "$need" ]; then
	echo "installing Debian packages:$need"
	[ "$(id -u)" = 0 ] || { echo "root is needed to install$need" >&2; exit 1; }
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	# shellcheck disable=SC2086
	apt-get install -y -qq --no-install-recommends $need
fi
command -v go >/dev/null 2>&1 || PATH=$PATH:/usr/local/go/bin
command -v go >/dev/null 2>&1 || { echo "Go 1.26 or newer is needed: see https://go.dev/dl" >&2; exit 1; }
echo "fetching Go modules"
go mod download
