#!/bin/bash
# Build and test the cpu image without a Docker engine: `make docker-test`.
#
# buildah builds the Dockerfile on a Debian made by debootstrap; runc, Docker's own runtime, starts it.
# Needs root. The base, the layers and their storage stay in cache/docker for the next run.
#
#   docker/test.sh [CLIP…]      # more clips to predict in addition to samples/demo.mp4
set -euo pipefail
cd "$(dirname "$0")/.."

work=$PWD/cache/docker
image=localhost/avsent:test
python=.venv/bin/python
test -x "$python" || python=python3

die() {
    echo "docker-test: $*" >&2
    exit 1
}

test "$(uname -s)" = Linux || die "needs Linux: it starts real containers"
test "$(id -u)" = 0 || die "needs root: debootstrap, buildah and runc make file systems and namespaces"
missing=()
for tool in buildah debootstrap runc; do
    command -v "$tool" > /dev/null || missing+=("$tool")
done
if test ${#missing[@]} -gt 0; then
    command -v apt-get > /dev/null || die "install ${missing[*]} first"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends \
        "${missing[@]}" ca-certificates > /dev/null
fi

mkdir -p "$work"
# overlay if the kernel has it; vfs, a full copy per layer, works anywhere.
driver=vfs
if grep -qw overlay /proc/filesystems; then
    driver=overlay
fi
store=(--root "$work/storage" --runroot "$work/run" --storage-driver "${AVSENT_DOCKER_STORAGE:-$driver}")

if ! test -f "$work/base/rootfs.tar"; then
    echo "docker-test: making a base with debootstrap" >&2
    rm -rf "$work/rootfs" "$work/base"
    mkdir -p "$work/base"
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv \
        bookworm "$work/rootfs" > "$work/debootstrap.log" || die "see $work/debootstrap.log"
    # Remove what bookworm-slim, the base of python:slim, also omits. Copyright files stay.
    rm -rf "$work"/rootfs/var/cache/apt/*.bin "$work"/rootfs/var/cache/apt/archives/*.deb \
        "$work"/rootfs/var/lib/apt/lists/* \
        "$work"/rootfs/usr/share/{man,info,locale} "$work"/rootfs/var/log/*.log
    find "$work/rootfs/usr/share/doc" -type f ! -name copyright -delete
    tar -C "$work/rootfs" -cf "$work/base/rootfs.tar.part" .
    mv "$work/base/rootfs.tar.part" "$work/base/rootfs.tar"
    rm -rf "$work/rootfs"
    printf 'FROM scratch\nADD rootfs.tar /\n' > "$work/base/Dockerfile"
fi
if ! buildah "${store[@]}" inspect --type image localhost/avsent-base > /dev/null 2>&1; then
    buildah "${store[@]}" bud --quiet --isolation chroot -t localhost/avsent-base "$work/base" > /dev/null
fi

mapfile -t volumes < <("$python" docker/machine.py "$work")
test ${#volumes[@]} -gt 0 || die "docker/machine.py printed no volumes"
echo "docker-test: building the cpu target" >&2
began=$SECONDS
buildah "${store[@]}" bud --isolation chroot --layers --force-rm --target cpu -t "$image" \
    "${volumes[@]}" \
    --build-arg CPU_BASE=localhost/avsent-base --build-arg TORCH_INDEX= \
    . > "$work/build.log" 2>&1 || { tail -n 30 "$work/build.log" >&2; die "see $work/build.log"; }
echo "docker-test: built in $((SECONDS - began)) s" >&2

container=$(buildah "${store[@]}" from --pull-never "$image")
# shellcheck disable=SC2064
trap "buildah ${store[*]@Q} rm $container > /dev/null" EXIT
root=$(buildah "${store[@]}" mount "$container")
buildah "${store[@]}" inspect --type image "$image" > "$work/image.json"
"$python" docker/check.py --root "$root" --image "$work/image.json" --work "$work/runs" "$@"
