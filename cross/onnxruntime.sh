#!/usr/bin/env bash
# Fetches ONNX Runtime's shared library into target/onnxruntime/, where a development build of eir
# looks for it. The library lies inside the Python wheel of the same name; nothing is installed.
#
#   cross/onnxruntime.sh [--optional] [--arch x86_64|aarch64]
#
# Does nothing when the right file is already there. With --optional a failure is reported and the
# script still succeeds: eir then runs every model on tract.
set -euo pipefail

VERSION=1.31.1
PYTHON_TAG=311
LIBRARY="onnxruntime/capi/libonnxruntime.so.$VERSION"

optional=no
arch=$(uname -m)
while [ $# -gt 0 ]; do
    case $1 in
        --optional) optional=yes ;;
        --arch) shift; arch=${1:-} ;;
        -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "onnxruntime: unknown argument $1; known are --optional and --arch" >&2; exit 64 ;;
    esac
    shift
done

say() { echo "onnxruntime: $*" >&2; }

give_up() {
    say "$*"
    if [ "$optional" = yes ]; then
        say "going on without it: models run on tract"
        exit 0
    fi
    exit 1
}

# The wheel's hash is what its author published; the library's is that of the file inside.
case $arch in
    x86_64)
        platform=manylinux_2_28_x86_64
        wheel_hash=5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f
        library_hash=fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3
        ;;
    aarch64 | arm64)
        arch=aarch64
        platform=manylinux_2_28_aarch64
        wheel_hash=da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3
        library_hash=8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467
        ;;
    *) give_up "there is no build for $arch; known are x86_64 and aarch64" ;;
esac
wheel="onnxruntime-$VERSION-cp$PYTHON_TAG-cp$PYTHON_TAG-$platform.whl"

root=$(cd "$(dirname "$0")/.." && pwd)
directory="${CARGO_TARGET_DIR:-$root/target}/onnxruntime"
[ "$arch" = "$(uname -m)" ] || directory="$directory-$arch"
library="$directory/libonnxruntime.so"

has_hash() { [ -f "$2" ] && echo "$1  $2" | sha256sum --check --status; }

if has_hash "$library_hash" "$library"; then
    say "$VERSION for $arch is already in $directory"
    exit 0
fi

need_pip() {
    python3 -m pip --version >/dev/null 2>&1 && return
    command -v apt-get >/dev/null || give_up "python3 with pip is needed to fetch it; please install both"
    [ "$(id -u)" = 0 ] || give_up "python3 with pip is needed to fetch it; run: sudo apt-get install python3-pip"
    say "installing python3-pip"
    apt-get update >&2 && apt-get install --yes --no-install-recommends python3-pip >&2 \
        || give_up "python3-pip could not be installed"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

need_pip
say "fetching $wheel"
python3 -m pip download --no-deps --only-binary=:all: --disable-pip-version-check \
    --implementation cp --python-version "$PYTHON_TAG" --abi "cp$PYTHON_TAG" \
    --platform "$platform" --dest "$work" "onnxruntime==$VERSION" >&2 \
    || give_up "the download failed; is there a network?"
has_hash "$wheel_hash" "$work/$wheel" || give_up "$wheel is missing or not the file that was expected"

say "unpacking $LIBRARY"
python3 - "$work/$wheel" "$LIBRARY" "$work/library" <<'PYTHON' || give_up "the wheel could not be unpacked"
import shutil, sys, zipfile

wheel, member, out = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, open(out, "wb") as target:
    shutil.copyfileobj(source, target)
PYTHON
has_hash "$library_hash" "$work/library" || give_up "$LIBRARY is not the file that was expected"

mkdir -p "$directory" || give_up "$directory cannot be made"
# Beside its place first: a running eir keeps the old file, and no half file is ever loaded. The
# name behind the link carries the version, which the library itself does not tell.
{
    cp "$work/library" "$library.new" && chmod 755 "$library.new" \
        && mv "$library.new" "$library.$VERSION" && ln -sfn "libonnxruntime.so.$VERSION" "$library"
} || give_up "$library cannot be written"
say "$VERSION for $arch is in $directory"
