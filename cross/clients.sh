#!/usr/bin/env bash
# Fetches others' clients of the Open Inference Protocol, as the tests' real peers, into target/clients: NVIDIA's
# tritonclient for HTTP and gRPC, schemathesis, which tries what the OpenAPI document promises, and gRPC's own of health and reflection. Nothing is installed into the system;
# without pip, or without a network, the tests go without.
set -euo pipefail

VERSION=2.50.0
SCHEMATHESIS=4.32.5
# The last one that lives with tritonclient's protobuf.
GRPC=1.62.3

root=$(cd "$(dirname "$0")/.." && pwd)
directory="${CARGO_TARGET_DIR:-$root/target}/clients"

say() { echo "clients: $*" >&2; }

has_client() {
    PYTHONPATH=$directory python3 -c 'import tritonclient.http, tritonclient.grpc, grpc_health, grpc_reflection' 2>/dev/null &&
        PYTHONPATH=$directory/schemathesis python3 -c 'import schemathesis' 2>/dev/null
}

if has_client; then
    say "they are already in $directory"
    exit 0
fi
if ! python3 -m pip --version >/dev/null 2>&1; then
    say "python3 with pip is not here; the tests go without them"
    exit 0
fi
say "fetching tritonclient $VERSION and schemathesis $SCHEMATHESIS into $directory"
rm -rf "$directory"
python3 -m pip install --quiet --disable-pip-version-check --target "$directory" \
    "tritonclient[http,grpc]==$VERSION" "grpcio-health-checking==$GRPC" "grpcio-reflection==$GRPC" \
    || say "it could not be fetched"
# What others need differs from that.
python3 -m pip install --quiet --disable-pip-version-check --target "$directory/schemathesis" \
    "schemathesis==$SCHEMATHESIS" || say "schemathesis could not be fetched"
has_client || say "the tests go without some of them"
