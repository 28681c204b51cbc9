#!/usr/bin/env bash
# Fetches what the benches measure eir against into target/peers. Nothing is installed into the system but what
# makes a virtual environment, and Node. Does nothing where it is there already; the benches go without one that
# cannot be fetched.
#
#   cross/peers.sh api    for `make bench-api`: FastAPI with uvicorn, and MLServer, from PyPI. Each has an environment of
#                         its own: MLServer holds FastAPI back at an old version.
#   cross/peers.sh mqtt   for `make bench-peers`: paho-mqtt, OpenCV, and what writes the model, from PyPI; mqtt.js,
#                         onnxruntime-node and sharp from npm.
set -euo pipefail
cd "$(dirname "$0")/.."

# ONNX Runtime is the version of cross/onnxruntime.sh: all run the same engine (npm has it later).
common=(onnxruntime==1.31.1 numpy==2.4.6)
quick=(orjson==3.13.0 uvloop==0.23.0 httptools==0.9.0)
fastapi=("${common[@]}" "${quick[@]}" fastapi==0.165.0 'uvicorn[standard]==0.54.0')
mlserver=("${common[@]}" "${quick[@]}" mlserver==1.7.1)
paho=("${common[@]}" paho-mqtt==2.2.0 opencv-python-headless==5.0.0.93 onnx==1.23.2 sympy==1.14.0)
node=(mqtt@5.16.0 onnxruntime-node@1.30.0 sharp@0.35.5)

directory="${CARGO_TARGET_DIR:-target}/peers"
me=peers
. cross/fetch.sh

# The system's Python first: one that somebody built at home mostly lacks profile guidance, and is a quarter slower.
PATH=/usr/bin:$PATH

# pip shows how far it is: it is 600 MB in all on disk.
export PIP_VERBOSE=1

# node_tools DIRECTORY PACKAGE...: these packages from npm. ONNX Runtime's own comes with its CPU library.
node_tools() {
    local directory=$1
    shift
    [ "$(cat "$directory/complete" 2>/dev/null)" != "$*" ] || return 0
    packages node:nodejs npm:npm
    say "fetching $*"
    rm -rf "$directory"
    mkdir -p "$directory"
    ONNXRUNTIME_NODE_INSTALL=skip npm install --prefix "$directory" --no-audit --no-fund --no-save "$@" >&2 ||
        fail "$* could not be fetched from npm; is there a network?"
    echo "$*" >"$directory/complete"
}

case "${1:-}" in
api) peers=(fastapi mlserver) ;;
mqtt) peers=(paho node) ;;
*) fail "say which: api or mqtt" ;;
esac

mkdir -p "$directory"
for peer in "${peers[@]}"; do
    declare -n own=$peer
    tools=python_tools
    [ "$peer" != node ] || tools=node_tools
    # In a shell of its own: a failure ends that alone.
    if ("$tools" "$directory/$peer" "${own[@]}"); then
        say "$peer is in $directory/$peer"
    else
        say "the bench goes without $peer"
    fi
done
