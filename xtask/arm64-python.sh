#!/bin/sh
# An arm64 Python 3.11 on an x86_64 machine, for the tests of `prove` and for `layerwise check --run`:
#
#     xtask/arm64-python.sh        # makes target/arm64-python/usr/bin/python3.11; says how to try it
#
# Debian's packages (bookworm), unpacked, not installed: nothing of this machine is changed, and no root is needed. It
# runs through qemu-user: `apt-get install qemu-user-static`. Needs apt-get, dpkg-deb and Debian's keys (on Ubuntu: the
# package debian-archive-keyring), 90 MB and half a minute.
set -eu
cd "$(dirname "$0")/.."
here=$PWD/target/arm64-python
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
keys=/usr/share/keyrings/debian-archive-keyring.gpg

if [ -x "$here/usr/bin/python3.11" ]; then
    echo "$here/usr/bin/python3.11 is there"
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/etc/apt.conf.d" "$work/root"
: > "$work/status"
echo "deb [signed-by=$keys] $mirror bookworm main" > "$work/etc/sources.list"
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
    python3.11 python3.11-minimal libpython3.11-minimal libpython3.11-stdlib \
    libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libssl3 libffi8 libbz2-1.0 liblzma5 libsqlite3-0 libuuid1 libcrypt1 \
    libncursesw6 libtinfo6 libreadline8 libdb5.3 libnsl2 libtirpc3
mkdir "$work/unpacked"
for package in *.deb; do
    dpkg-deb -x "$package" "$work/unpacked"
done
mkdir -p "$(dirname "$here")"
rm -rf "$here"
mv "$work/unpacked" "$here"
# Debian compiles the library when it installs it. Without, every start of Python compiles what it imports: under qemu,
# that makes 1.4 s of 0.5 s.
library=$here/usr/lib/python3.11
if qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64); then
    "$qemu" -L "$here" "$here/usr/bin/python3.11" -I -S -m compileall -q -x 'lib2to3|idlelib|test' "$library"
else
    echo "qemu-user is not installed: apt-get install qemu-user-static, then delete $here and start again" >&2
fi
echo "made $here; to try it:"
echo "  qemu-aarch64-static -L $here $here/usr/bin/python3.11 -I -S -c 'import os; print(os.uname().machine)'"
