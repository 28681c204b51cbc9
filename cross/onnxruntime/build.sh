#!/usr/bin/env bash
# The steps from the downloaded sources to one archive; cross/onnxruntime-static.sh calls it with
# everything at hand. Each step leaves a mark and is not done twice.
#
#   build.sh DOWNLOADS WORK ARCHIVE [OPERATORS]
#
# OPERATORS is a list of what the models use, as operators.py prints it: those come in, and what the optimizer
# adds. The archive's bytes depend on it, on the files of this directory and on the compiler alone: neither on
# where WORK lies nor on the time.
set -euo pipefail
export LC_ALL=C SOURCE_DATE_EPOCH=0

here=$(cd "$(dirname "$0")" && pwd)
downloads=$1 work=$2 archive=$3 operators=${4:-}
sources=$work/sources build=$work/build
runtime=$sources/onnxruntime

say() { echo "onnxruntime-static: $*" >&2; }

# unpack NAME FILE: the contents of a tarball or a package as WORK/sources/NAME.
unpack() {
    mkdir -p "$sources/$1"
    case $2 in
        *.deb) dpkg-deb --extract "$2" "$sources/$1" ;;
        *) tar --extract --file "$2" --directory "$sources/$1" --strip-components 1 ;;
    esac
}

# headers NAME TARGET DIRECTORY [DEFINITION]: a library of headers alone, under ONNX Runtime's name for it.
headers() {
    cp "$here/header-only.cmake" "$sources/$1/CMakeLists.txt"
    printf 'set(target "%s")\nset(headers "%s")\nset(definitions "%s")\n' "$2" "$3" "${4:-}" \
        >"$sources/$1/target.cmake"
}

prepare() {
    rm -rf "$sources" "$build"
    local name path
    while read -r _ name path; do
        say "unpacking $name"
        unpack "$name" "$downloads/${path##*/}"
    done < <(grep -v '^#' "$here/sources")

    # CMake applies ONNX Runtime's own patches only to what it has downloaded itself.
    for name in onnx/onnx protobuf/protobuf_cmake flatbuffers/flatbuffers; do
        patch --directory "$sources/${name%/*}" --strip 1 --binary --ignore-whitespace --quiet \
            <"$runtime/cmake/patches/$name.patch"
    done
    python3 "$here/fix_sources.py" "$runtime"

    headers date date::date include
    headers gsl Microsoft.GSL::GSL include
    headers json nlohmann_json::nlohmann_json include
    headers boost Boost::mp11 usr/include
    cp "$here/nan_min_max.h" "$sources/eigen/"
    headers eigen Eigen3::Eigen . "EIGEN_ARRAYBASE_PLUGIN=<nan_min_max.h>"
    # Protobuf 21 has no such part, but ONNX Runtime asks for its directory.
    mkdir -p "$sources/utf8_range"
    touch "$sources/complete"
}

# Takes the operators that are not wanted out of the lists of what there is; the linker drops the rest.
reduce() {
    python3 -B "$here/operators.py" whole "$operators" "$runtime" >"$work/operators"
    "${EIR_OPERATORS_PYTHON:-python3}" -B "$runtime/tools/ci_build/reduce_op_kernels.py" "$work/operators" \
        --cmake_build_dir "$build" --is_extended_minimal_build_or_higher >"$work/operators.log" 2>&1 || {
        tail -n 5 "$work/operators.log" >&2
        say "the operators could not be reduced; all that was said is in $work/operators.log"
        return 1
    }
}

configure() {
    # The paths of this machine stay out of the program; warnings are for those who write these sources.
    local flags="-O2 -DNDEBUG -w -ffile-prefix-map=$sources=/src -ffile-prefix-map=$build=/build"
    cmake -G Ninja -S "$runtime/cmake" -B "$build" --compile-no-warning-as-error -Wno-dev \
        -DCMAKE_TOOLCHAIN_FILE="$here/toolchain.cmake" \
        -DCMAKE_PROJECT_onnxruntime_INCLUDE="$here/hooks.cmake" \
        -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE="$flags" \
        -DCMAKE_CXX_FLAGS_RELEASE="$flags" -DCMAKE_ASM_FLAGS_RELEASE="$flags" \
        -DCMAKE_DISABLE_FIND_PACKAGE_Git=ON \
        -DFETCHCONTENT_FULLY_DISCONNECTED=ON -DFETCHCONTENT_TRY_FIND_PACKAGE_MODE=NEVER \
        -DFETCHCONTENT_SOURCE_DIR_ABSEIL_CPP="$sources/abseil" \
        -DFETCHCONTENT_SOURCE_DIR_DATE="$sources/date" \
        -DFETCHCONTENT_SOURCE_DIR_EIGEN="$sources/eigen" \
        -DFETCHCONTENT_SOURCE_DIR_FLATBUFFERS="$sources/flatbuffers" \
        -DFETCHCONTENT_SOURCE_DIR_GSL="$sources/gsl" \
        -DFETCHCONTENT_SOURCE_DIR_MP11="$sources/boost" \
        -DFETCHCONTENT_SOURCE_DIR_NLOHMANN_JSON="$sources/json" \
        -DFETCHCONTENT_SOURCE_DIR_ONNX="$sources/onnx" \
        -DFETCHCONTENT_SOURCE_DIR_PROTOBUF="$sources/protobuf" \
        -DFETCHCONTENT_SOURCE_DIR_RE2="$sources/re2" \
        -DFETCHCONTENT_SOURCE_DIR_UTF8_RANGE="$sources/utf8_range" \
        -Dsafeint_SOURCE_DIR="$sources/safeint/usr/include/safeint" \
        -DONNX_CUSTOM_PROTOC_EXECUTABLE="$(command -v protoc)" \
        -Dprotobuf_WITH_ZLIB=OFF -DFLATBUFFERS_BUILD_FLATC=OFF \
        -Donnxruntime_CROSS_COMPILING=ON -Donnxruntime_BUILD_SHARED_LIB=OFF \
        -Donnxruntime_BUILD_UNIT_TESTS=OFF -Donnxruntime_BUILD_OPSCHEMA_LIB=OFF \
        ${operators:+-Donnxruntime_REDUCED_OPS_BUILD=ON} \
        -Donnxruntime_ENABLE_PYTHON=OFF -Donnxruntime_DISABLE_FLOAT8_TYPES=ON \
        -Donnxruntime_ENABLE_CPUINFO=OFF -Donnxruntime_USE_XNNPACK=OFF \
        >"$work/configure.log" 2>&1 || {
        tail -n 30 "$work/configure.log" >&2
        say "cmake could not configure the build; all it said is in $work/configure.log"
        return 1
    }
}

# One archive of all that was built: the whole of protobuf and its compiler are not needed beside the lite
# library. In an archive of archives the order of the members is the order of their names.
merge() {
    # ar's script knows no quotes: names below WORK, so that WORK may be called what it likes.
    cd "$work"
    {
        echo "create libonnxruntime.a"
        find build -name '*.a' ! -name libprotobuf.a ! -name libprotoc.a | sort | sed 's/^/addlib /'
        echo save
        echo end
    } >merge.ar
    aarch64-linux-gnu-ar -M <merge.ar
    aarch64-linux-gnu-strip --strip-debug --enable-deterministic-archives libonnxruntime.a
    aarch64-linux-gnu-ranlib -D libonnxruntime.a
}

[ -f "$sources/complete" ] || prepare
if [ ! -f "$build/build.ninja" ]; then
    [ -z "$operators" ] || reduce
    say "configuring"
    configure
fi
say "compiling; this takes about 20 minutes on two cores, and goes on where it was stopped"
# Nothing else asks for the regular expressions, so ninja would leave them out.
compile() { ninja -C "$build" ${JOBS:+-j "$JOBS"} all re2; }
compile >&2
# A ninja that was told to stop in the middle ends as if all were done. If it was, there is nothing left to do.
compile | tee /dev/stderr | grep 'no work to do' >/dev/null || {
    say "the compilation had been stopped before its end"
    exit 1
}
say "putting the archive together"
merge
mv libonnxruntime.a "$archive"
