#!/usr/bin/env bash
# Builds ONNX Runtime as one static archive for aarch64, from sources in Debian's archive: what the full
# flavour of cross/build links. Runs on x86_64 (with Debian's cross compiler) and on aarch64.
#
#   cross/onnxruntime-static.sh                     builds it, unless it is there
#   cross/onnxruntime-static.sh --import FILE       takes a ready archive, if its SHA-256 is known
#   cross/onnxruntime-static.sh --print-directory   says where it lies
#   cross/onnxruntime-static.sh --licences          prints the licences of all that it is built from
#   … --operators DIR                               with the operators alone that the models below DIR need
#
# It goes to target/cross/onnxruntime/HASH/libonnxruntime.a, where HASH stands for all that decides about
# its bytes: the files of cross/onnxruntime/ and the compiler's version. EIR_ONNXRUNTIME_ARCHIVE=FILE does
# what --import does, DEBIAN_MIRROR=URL names another mirror than apt's, JOBS=N sets how many compilers run.
# A build that was stopped goes on where it was; remove target/cross/onnxruntime to start afresh.
set -euo pipefail

# Sources 0.7 GiB; most of the rest are precompiled headers.
NEED_MIB=4000
NEED_PROTOC=3.21.12
CMAKE=cmake==3.31.10
NINJA=ninja==1.13.0
OPERATORS_TOOLS=(onnx==1.23.2 flatbuffers==23.5.26)

root=$(cd "$(dirname "$0")/.." && pwd)
recipe=$root/cross/onnxruntime
cache=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")/cross/onnxruntime

me=onnxruntime-static
. "$root/cross/fetch.sh"

word=build
models=
ready=${EIR_ONNXRUNTIME_ARCHIVE:-}
while [ $# -gt 0 ]; do
    case $1 in
        --import)
            ready=${2:-}
            if [ -z "$ready" ]; then
                say "--import wants a file"
                exit 64
            fi
            shift
            ;;
        --operators)
            models=${2:-}
            [ -d "$models" ] || { say "--operators wants a directory of models, '$models' is none"; exit 64; }
            shift
            ;;
        --print-directory) word=print ;;
        --licences) word=licences ;;
        -h | --help) sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) say "unknown argument $1; known are --import FILE, --operators DIR, --print-directory and --licences"; exit 64 ;;
    esac
    shift
done

compiler() {
    case $(uname -m) in
        x86_64) packages aarch64-linux-gnu-g++:g++-aarch64-linux-gnu ;;
        aarch64) packages aarch64-linux-gnu-g++:g++ ;;
        *) fail "there is no build on $(uname -m); known are x86_64 and aarch64" ;;
    esac
}

# All that decides about the bytes. The table of known archives does not: it names the result.
inputs() {
    {
        (cd "$recipe" && LC_ALL=C find . -type f ! -name known ! -name '*.pyc' | LC_ALL=C sort | xargs sha256sum)
        aarch64-linux-gnu-g++ -dumpfullversion
        echo "$CMAKE"
        [ -z "$operators" ] || cat "$operators"
    } | sha256sum | cut -c1-16
}

# The whole archive in one step: nobody ever links half a file.
install_archive() {
    mkdir -p "$directory"
    mv "$1" "$archive" || fail "$archive cannot be written"
    say "$(stat -c %s "$archive") bytes, SHA-256 $(sum "$archive")"
    say "in $archive"
}

import() {
    [ -f "$1" ] || fail "$1 is no file"
    local found
    found=$(sum "$1")
    grep -q "^$inputs $found\b" "$recipe/known" || {
        say "$1 is not known as what these sources and this compiler give:"
        say "its SHA-256 is $found; cross/onnxruntime/known has for $inputs:"
        say "$(grep "^$inputs " "$recipe/known" | cut -d' ' -f2- || echo nothing)"
        exit 65
    }
    mkdir -p "$directory"
    cp "$1" "$archive.new" || { rm -f "$archive.new"; fail "$directory cannot be written; is the disk full?"; }
    install_archive "$archive.new"
}

# The texts that lie at the top of each of the sources, or in Debian's statement of them.
licences() {
    local name path file
    fetch_sources "$recipe/sources" "$downloads"
    while read -r _ name path; do
        file=$downloads/${path##*/}
        printf '\n%s\n%s\n\n' "------------------------------------------------------------------------------" "$name"
        case $file in
            # Boost's statement is a book, of which the last chapter counts for its part here.
            *.deb)
                dpkg-deb --fsys-tarfile "$file" |
                    tar --extract --to-stdout --wildcards './usr/share/doc/*/copyright' |
                    awk -v name="$name" 'name == "boost" && /^License: BSL-1.0$/ { held = "" }
                        { held = held $0 "\n" } END { printf "%s", held }'
                ;;
            *)
                tar --extract --to-stdout --file "$file" --wildcards --no-wildcards-match-slash \
                    '*/LICENSE*' '*/COPYING*' 2>/dev/null || true
                ;;
        esac
    done < <(grep -v '^#' "$recipe/sources")
}

# CMake has to be newer than Debian 12's; both come as wheels into a directory of their own.
build_tools() {
    packages curl:curl patch:patch xz:xz-utils bzip2:bzip2 python3:python3 protoc:protobuf-compiler
    local found
    found=$(protoc --version) || true
    [ "$found" = "libprotoc $NEED_PROTOC" ] ||
        fail "protoc $NEED_PROTOC is needed, as Debian 12 and 13 have it, but $(command -v protoc) is '$found'"
    python_tools "$cache/tools" "$CMAKE" "$NINJA"
    PATH=$cache/tools/bin:$PATH
}

enough_space() {
    local free used
    mkdir -p "$1" || fail "$1 cannot be made"
    free=$(df --output=avail -m "$1" | tail -n 1)
    used=$(du -sm "$1" | cut -f1)
    [ $((free + used)) -ge "$NEED_MIB" ] ||
        fail "the build needs $NEED_MIB MiB in $1, but $((free + used)) MiB are free there"
}

compiler
operators=
if [ -n "$models" ]; then
    mkdir -p "$cache"
    python_tools "$cache/onnx" "${OPERATORS_TOOLS[@]}"
    export EIR_OPERATORS_PYTHON=$cache/onnx/bin/python
    operators=$(mktemp)
    trap 'rm -f "$operators"' EXIT
    "$EIR_OPERATORS_PYTHON" -B "$recipe/operators.py" models "$models" >"$operators" || exit 66
fi
inputs=$(inputs)
directory=$cache/$inputs
archive=$directory/libonnxruntime.a
downloads=$cache/downloads

if [ "$word" = print ]; then
    echo "$directory"
    exit 0
fi

# Two at once would write into the same files; the second waits, and finds what the first has made.
mkdir -p "$cache" || fail "$cache cannot be made"
exec 9>"$cache/lock"
flock 9

if [ "$word" = licences ]; then
    packages curl:curl xz:xz-utils bzip2:bzip2
    licences
    exit 0
fi
if [ -f "$archive" ]; then
    say "is already in $archive"
    exit 0
fi
if [ -n "$ready" ]; then
    import "$ready"
    exit 0
fi

work=$directory/work
enough_space "$work"
build_tools
fetch_sources "$recipe/sources" "$downloads"
"$recipe/build.sh" "$downloads" "$work" "$work/archive" ${operators:+"$operators"} ||
    fail "the build failed; what was compiled is kept in $work, so a second try goes on from there"
install_archive "$work/archive"
rm -rf "$work"
