#!/usr/bin/env bash
# Fetches the servers that `make bench-api` measures eir against, from PyPI: FastAPI with uvicorn and ONNX Runtime
# into target/peers/fastapi, MLServer into target/peers/mlserver. Nothing is installed into the system but what
# makes a virtual environment. Each has one of its own: MLServer holds FastAPI back at an old version.
# Does nothing where they are already; the bench goes without one that cannot be fetched.
set -euo pipefail
cd "$(dirname "$0")/.."

# ONNX Runtime is the version of cross/onnxruntime.sh: all run the same engine.
common=(onnxruntime==1.31.1 numpy==2.4.6 orjson==3.13.0 uvloop==0.23.0 httptools==0.9.0)
fastapi=(fastapi==0.165.0 'uvicorn[standard]==0.54.0')
mlserver=(mlserver==1.7.1)

directory="${CARGO_TARGET_DIR:-target}/peers"
me=peers
. cross/fetch.sh

# The system's Python first: one that somebody built at home mostly lacks profile guidance, and is a quarter slower.
PATH=/usr/bin:$PATH

# pip shows how far it is: it is 600 MB in all on disk.
export PIP_VERBOSE=1

mkdir -p "$directory"
for peer in fastapi mlserver; do
    declare -n own=$peer
    # In a shell of its own: a failure ends that alone.
    if (python_tools "$directory/$peer" "${common[@]}" "${own[@]}"); then
        say "$peer is in $directory/$peer"
    else
        say "the bench goes without $peer"
    fi
done
