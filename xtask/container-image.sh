#!/bin/sh
# Images that stand in for AWS's build images of python3.11 and python3.13, and a podman of its own that has them, for the
# tests of the engine `container`:
#
#     xtask/container-image.sh     # makes target/container-image; says how to try it
#
# Debian's Python and gcc, and this machine's Rust, where it has one (bookworm and trixie; their glibc is 2.36 and 2.41, so
# what they build often needs more than the runtime has: a wheel that is refused for that is no failure of the engine). The
# store is in /var/tmp; nothing of podman's own is touched. Needs podman, mmdebstrap and runc (`apt-get install podman
# mmdebstrap runc uidmap`), 4 GB and six minutes. As root, or as a user with ranges in /etc/subuid and /etc/subgid.
set -eu
cd "$(dirname "$0")/.."
here=$PWD/target/container-image
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

for program in podman mmdebstrap runc; do
    if ! command -v $program >/dev/null && [ ! -x /usr/sbin/$program ]; then
        echo "$program is not installed: apt-get install podman mmdebstrap runc uidmap" >&2
        exit 1
    fi
done
mkdir -p "$here"
# Not below target: where the path is long, podman 4.3 waits 20 s for each container's end.
store=/var/tmp/layerwise-podman-$(id -u)
# Limits that may not be raised, cgroups that may not be made: what works in a container or a VM of a CI works everywhere.
cat > "$here/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
netns = "host"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "$store/tmp"
static_dir = "$store/root/libpod"
[engine.runtimes]
runc = ["$(PATH=$PATH:/usr/sbin command -v runc)"]
CONF
printf '[storage]\ndriver = "overlay"\ngraphroot = "%s/root"\nrunroot = "%s/run"\n' "$store" "$store" > "$here/storage.conf"
export CONTAINERS_CONF="$here/containers.conf" CONTAINERS_STORAGE_CONF="$here/storage.conf"
for pair in python3.11:bookworm python3.13:trixie; do
    python=${pair%:*}
    image=public.ecr.aws/sam/build-$python:latest-x86_64
    if podman image exists "$image"; then
        echo "$image is there"
        continue
    fi
    mmdebstrap --variant=minbase \
        --include=$python,$python-dev,$python-venv,gcc,g++,libc6-dev,make,ca-certificates \
        "${pair#*:}" "$here/rootfs.tar" "$mirror"
    if command -v rustc >/dev/null; then
        rust=$(rustc --print sysroot)
        mkdir -p "$here/links"
        ln -sf /opt/rust/bin/cargo /opt/rust/bin/rustc "$here/links"
        tar --append --file "$here/rootfs.tar" --owner=0 --group=0 --exclude=lib/rustlib/src \
            --transform 's,^\(bin\|lib\),opt/rust/\1,;s,^\./,usr/local/bin/,' \
            -C "$rust" bin/cargo bin/rustc lib -C "$here/links" ./cargo ./rustc
    fi
    podman import --quiet "$here/rootfs.tar" "$image"
    rm "$here/rootfs.tar"
done
echo "to try it:"
echo "  export CONTAINERS_CONF=$CONTAINERS_CONF CONTAINERS_STORAGE_CONF=$CONTAINERS_STORAGE_CONF"
echo "  layerwise build -p markupsafe==3.0.3 --compile-all --engine container --container-program podman --runtime python3.11"
