# Sourced by scripts that take packages for arm64 from Debian's archive without
# touching this machine's package system: apt works on a state of its own, with
# the sources and proxies this machine is set up for.
# Newer kernels of Debian 12 come from its updates and backports.

# debian_apt DIR ARCHITECTURE... sets apt up in DIR and reads the package lists.
debian_apt() {
	dir=$1
	shift
	mkdir -p "$dir/state/lists/partial" "$dir/cache/archives/partial" "$dir/download"
	: >"$dir/status"
	rm -rf "$dir/sources.list.d"
	mkdir -p "$dir/sources.list.d"
	cp /etc/apt/sources.list.d/* "$dir/sources.list.d/" 2>/dev/null || true
	cp /etc/apt/sources.list "$dir/sources.list.d/main.list" 2>/dev/null || true
	cat >"$dir/apt.conf" <<CONF
Dir::State "$dir/state";
Dir::State::status "$dir/status";
Dir::Cache "$dir/cache";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$dir/sources.list.d";
APT::Architecture "$1";
APT::Architectures {$(printf '"%s";' "$@")};
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
CONF
	export APT_CONFIG="$dir/apt.conf"
	apt-get -qq update
}
