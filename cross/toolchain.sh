#!/usr/bin/env bash
# Makes sure that eir can be built for another machine, and says with which environment:
#
#   eval "$(cross/toolchain.sh aarch64-unknown-linux-gnu)" && cargo build --target aarch64-unknown-linux-gnu
#
# Known are aarch64-unknown-linux-gnu, armv7-unknown-linux-gnueabihf and this machine's own target. The
# standard library comes from rustup where there is one, otherwise from Debian's rustc-web; the C compiler is
# Debian's. The environment makes a program without shared libraries and without this machine's paths.
# aarch64-unknown-linux-gnu.2.31 is for `cargo-zigbuild rustc`: a dynamic program for that glibc and later.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cargo_home=${CARGO_HOME:-$HOME/.cargo}
host=$(uname -m)
ZIG=(cargo-zigbuild==0.24.1 ziglang==0.17.1)

me=toolchain
. "$root/cross/fetch.sh"

target=${1:-} glibc=
case $target in
    aarch64-unknown-linux-gnu.2.*) glibc=${target#*-gnu.} target=${target%%.*} ;;
esac
case $target in
    aarch64-unknown-linux-gnu) machine=aarch64 prefix=aarch64-linux-gnu architecture=arm64 ;;
    armv7-unknown-linux-gnueabihf) machine=armv7l prefix=arm-linux-gnueabihf architecture=armhf ;;
    x86_64-unknown-linux-gnu) machine=x86_64 prefix=x86_64-linux-gnu architecture=amd64 ;;
    -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *)
        say "unknown target '$target'; known are aarch64-unknown-linux-gnu," \
            "armv7-unknown-linux-gnueabihf, x86_64-unknown-linux-gnu and aarch64-unknown-linux-gnu.2.31"
        exit 64
        ;;
esac
if [ "$machine" = x86_64 ] && [ "$host" != x86_64 ]; then
    fail "x86_64 is built on x86_64 alone, this is $host"
fi

# has_target RUSTC: that compiler has the standard library of the target.
has_target() {
    local found
    found=$("$1" --print target-libdir --target "$target" 2>/dev/null) &&
        compgen -G "$found/libstd-*.rlib" >/dev/null
}

new_enough() {
    local need found
    need=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
    found=$("$1" --version | cut -d' ' -f2)
    [ "$(printf '%s\n%s\n' "$need" "$found" | sort -V | head -n 1)" = "$need" ] ||
        fail "Rust $found ($1) is too old; eir needs $need or later"
}

# Debian's cross compiler; on the machine itself its own, which has the same name.
c_compiler() {
    if [ "$machine" = "$host" ]; then packages "$prefix-g++:g++"; else packages "$prefix-g++:g++-$prefix"; fi
    packages ld.lld:lld
}

# Sets `rustc` to a compiler that has the target; empty: the one in PATH.
rust_compiler() {
    rustc=
    command -v cargo >/dev/null 2>&1 || fail "no cargo found; get it from https://rustup.rs"
    if has_target rustc; then return; fi
    if command -v rustup >/dev/null 2>&1; then
        say "fetching the standard library for $target"
        if rustup target add "$target" >&2 && has_target rustc; then return; fi
        say "rustup does not have it; trying Debian's"
    fi
    if ! has_target /usr/bin/rustc; then
        install_packages rustc-web "libstd-rust-web-dev:$architecture"
        has_target /usr/bin/rustc || fail "/usr/bin/rustc has no standard library for $target"
    fi
    rustc=/usr/bin/rustc
}

rust_compiler
if [ -z "$glibc" ]; then
    c_compiler
else
    # Zig brings the symbol tables of every glibc and a C compiler: a linker for systems older than this one.
    zig=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")/cross/zig
    python_tools "$zig" "${ZIG[@]}"
fi
new_enough "${rustc:-rustc}"

# set_variable NAME VALUE
set_variable() { printf 'export %s=%q\n' "$1" "$2"; }

plain=${target//-/_}
upper=${plain^^}
[ -z "$rustc" ] || set_variable RUSTC "$rustc"
# Loaded at a fixed address, the program needs no table of places to mend when it starts.
flags="-C target-feature=+crt-static -C relocation-model=static" c_flags=
[ -z "$glibc" ] || flags=
# Thumb instructions take two thirds of the room, as Debian's own compiler for armhf has it.
[ "$machine" != armv7l ] || flags+=" -C target-feature=+thumb-mode"
built=${CARGO_TARGET_DIR:-$root/target}
for place in "$cargo_home/registry/src=/cargo" "$root=/eir" "$built=/eir/target"; do
    flags+=" --remap-path-prefix=$place"
    c_flags+=" -ffile-prefix-map=$place"
done
set_variable "CARGO_TARGET_${upper}_RUSTFLAGS" "${flags# }"
# What the crates `cc` and `cmake` ask for when they compile C, as aws-lc-sys and ring do.
set_variable "CFLAGS_$plain" "${c_flags# }"
set_variable "CXXFLAGS_$plain" "${c_flags# }"
if [ -n "$glibc" ]; then
    # cargo-zigbuild names the compilers.
    set_variable PATH "$zig/bin:$PATH"
    set_variable CARGO_ZIGBUILD_ZIG_PATH "$zig/bin/python-zig"
else
    set_variable "CARGO_TARGET_${upper}_LINKER" "$prefix-gcc"
    set_variable "CC_$plain" "$prefix-gcc"
    set_variable "CXX_$plain" "$prefix-g++"
    set_variable "AR_$plain" "$prefix-ar"
fi
