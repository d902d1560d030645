#!/bin/sh
# An image that stands in for AWS's build image of python3.11, and a podman of its own that has it, for the tests of
# the engine `container`:
#
#     xtask/container-image.sh     # makes target/container-image; says how to try it
#
# Debian's Python 3.11 and gcc (bookworm; glibc 2.36, so what it builds often needs more than python3.11 has: a wheel that is
# refused for that is no failure of the engine). Its store is in /var/tmp; nothing of podman's own is touched. Needs podman,
# mmdebstrap and runc (`apt-get install podman mmdebstrap runc uidmap`), 1.1 GB and two minutes. As root, or as a user
# with ranges in /etc/subuid and /etc/subgid.
set -eu
cd "$(dirname "$0")/.."
here=$PWD/target/container-image
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
image=public.ecr.aws/sam/build-python3.11:latest-x86_64

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
if podman image exists "$image"; then
    echo "$image is there"
else
    mmdebstrap --variant=minbase \
        --include=python3.11,python3.11-dev,python3.11-venv,gcc,g++,libc6-dev,make,ca-certificates \
        bookworm "$here/rootfs.tar" "$mirror"
    podman import --quiet "$here/rootfs.tar" "$image"
    rm "$here/rootfs.tar"
fi
echo "to try it:"
echo "  export CONTAINERS_CONF=$CONTAINERS_CONF CONTAINERS_STORAGE_CONF=$CONTAINERS_STORAGE_CONF"
echo "  layerwise build -p markupsafe==3.0.3 --compile-all --engine container --container-program podman --runtime python3.11"
