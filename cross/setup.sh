#!/usr/bin/env bash
# Installs what a build or a test needs and the machine lacks.
#   cross/setup.sh build    a C compiler
#   cross/setup.sh test     that, mosquitto, nginx, openssl, strace and procps as the tests' real peers, and what
#                           takes a network away from them: iproute2, and unshare and nsenter of util-linux
#   cross/setup.sh browser  Chromium, which looks at the live page; where the system has no package of it, the
#                           tests go without
#   cross/setup.sh guard    a C compiler and valgrind, which counts instructions
#   cross/setup.sh emulation    what cross/test needs: qemu, mosquitto, openssl
# The Rust toolchain is the one thing it does not install: it says how to get it.
set -euo pipefail
cd "$(dirname "$0")/.."

need_rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

me=setup
. cross/fetch.sh

toolchain() {
    local found
    if ! command -v "${CARGO:-cargo}" >/dev/null 2>&1; then
        say "no Rust toolchain found; eir needs $need_rust or later."
        say "get it from https://rustup.rs, open a new shell, and run make again."
        exit 69
    fi
    found=$(rustc --version | cut -d' ' -f2)
    if [ "$(printf '%s\n%s\n' "$need_rust" "$found" | sort -V | head -n 1)" != "$need_rust" ]; then
        say "Rust $found is too old; eir needs $need_rust or later: run 'rustup update stable'."
        exit 69
    fi
}

build_tools=(cc:build-essential)
case "${1:-build}" in
build)
    toolchain
    packages "${build_tools[@]}"
    ;;
test)
    toolchain
    packages "${build_tools[@]}" mosquitto:mosquitto mosquitto_pub:mosquitto-clients \
        openssl:openssl nginx:nginx-light strace:strace pkill:procps ip:iproute2 unshare:util-linux nsenter:util-linux
    ;;
browser)
    command -v chromium >/dev/null || command -v chromium-browser >/dev/null ||
        (packages chromium:chromium python3:python3) || say "the tests go without a browser"
    ;;
guard)
    toolchain
    packages "${build_tools[@]}" valgrind:valgrind
    ;;
emulation)
    packages qemu-aarch64-static:qemu-user-static mosquitto:mosquitto mosquitto_pub:mosquitto-clients \
        openssl:openssl readelf:binutils python3:python3
    /usr/bin/python3 -c 'import seccomp' 2>/dev/null || install_packages python3-seccomp
    ;;
*)
    say "unknown word '$1'; use build, test, browser, guard or emulation"
    exit 64
    ;;
esac
