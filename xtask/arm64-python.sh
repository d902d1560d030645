#!/bin/sh
# An arm64 Python on an x86_64 machine, for tests of `prove`, `layerwise check --run` and `xtask source-builds`:
#
#     xtask/arm64-python.sh        # makes target/arm64-python/usr/bin/python3.11; says how to try it
#     xtask/arm64-python.sh 3.13   # makes target/arm64-python3.13/usr/bin/python3.13
#
# Debian's packages (bookworm, trixie), unpacked, not installed: nothing here is changed, and no root is needed. It
# runs through qemu-user: `apt-get install qemu-user-static`. Needs apt-get, dpkg-deb and Debian's keys (on Ubuntu: the
# package debian-archive-keyring), 90 MB and half a minute.
set -eu
cd "$(dirname "$0")/.."
version=${1:-3.11}
case $version in
3.11) here=$PWD/target/arm64-python release=bookworm ssl=libssl3 time= ;;
3.13) here=$PWD/target/arm64-python3.13 release=trixie ssl=libssl3t64 time=t64 ;;
*) echo "there is 3.11 and 3.13" >&2 && exit 2 ;;
esac
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
keys=/usr/share/keyrings/debian-archive-keyring.gpg

if [ -x "$here/usr/bin/python$version" ]; then
    echo "$here/usr/bin/python$version is there"
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/etc/apt.conf.d" "$work/root"
: > "$work/status"
echo "deb [signed-by=$keys] $mirror $release main" > "$work/etc/sources.list"
# apt's settings of this machine (proxies) stay in force; only its state is elsewhere.
cat > "$work/apt.conf" <<CONF
Dir::State "$work";
Dir::State::lists "$work/lists";
Dir::State::status "$work/status";
Dir::Cache "$work/cache";
Dir::Etc::sourcelist "$work/etc/sources.list";
Dir::Etc::sourceparts "-";
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "$(id -un)";
CONF
export APT_CONFIG="$work/apt.conf"
apt-get update -qq
cd "$work/root"
apt-get download -qq \
    "python$version" "python$version-minimal" "libpython$version-minimal" "libpython$version-stdlib" \
    libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 "$ssl" libffi8 libbz2-1.0 liblzma5 libsqlite3-0 libuuid1 libcrypt1 \
    libncursesw6 libtinfo6 "libreadline8$time" "libdb5.3$time" libnsl2 "libtirpc3$time"
mkdir "$work/unpacked"
for package in *.deb; do
    dpkg-deb -x "$package" "$work/unpacked"
done
# Since trixie the link is base-files'.
[ -e "$work/unpacked/lib" ] || ln -s usr/lib "$work/unpacked/lib"
mkdir -p "$(dirname "$here")"
rm -rf "$here"
mv "$work/unpacked" "$here"
# Debian compiles the library when it installs it. Without, every start of Python compiles what it imports: under qemu,
# that makes 1.4 s of 0.5 s.
library=$here/usr/lib/python$version
if qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64); then
    "$qemu" -L "$here" "$here/usr/bin/python$version" -I -S -m compileall -q -x 'lib2to3|idlelib|test' "$library"
else
    echo "qemu-user is not installed: apt-get install qemu-user-static, then delete $here and start again" >&2
fi
echo "made $here; to try it:"
echo "  qemu-aarch64-static -L $here $here/usr/bin/python$version -I -S -c 'import os; print(os.uname().machine)'"
