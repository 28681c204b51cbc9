#!/usr/bin/env bash
# Fetches others' clients, as the tests' real peers, into target/clients: NVIDIA's tritonclient for HTTP and gRPC,
# schemathesis, which tries what the OpenAPI document promises, gRPC's own of health and reflection, and python-tuf for
# releases. Nothing is installed into the system; without pip, or without a network, the tests go without.
set -euo pipefail

VERSION=2.50.0
SCHEMATHESIS=4.32.5
# The last one that lives with tritonclient's protobuf.
GRPC=1.62.3
# The Update Framework's own client and keeper of repositories.
TUF=7.0.1

root=$(cd "$(dirname "$0")/.." && pwd)
directory="${CARGO_TARGET_DIR:-$root/target}/clients"

say() { echo "clients: $*" >&2; }

has_client() {
    PYTHONPATH=$directory python3 -c 'import tritonclient.http, tritonclient.grpc, grpc_health, grpc_reflection' 2>/dev/null &&
        PYTHONPATH=$directory/schemathesis python3 -c 'import schemathesis' 2>/dev/null &&
        PYTHONPATH=$directory/tuf python3 -c 'import tuf.ngclient, cryptography' 2>/dev/null
}

if has_client; then
    say "they are already in $directory"
    exit 0
fi
if ! python3 -m pip --version >/dev/null 2>&1; then
    say "python3 with pip is not here; the tests go without them"
    exit 0
fi
say "fetching tritonclient $VERSION, schemathesis $SCHEMATHESIS and python-tuf $TUF into $directory"
rm -rf "$directory"
python3 -m pip install --quiet --disable-pip-version-check --target "$directory" \
    "tritonclient[http,grpc]==$VERSION" "grpcio-health-checking==$GRPC" "grpcio-reflection==$GRPC" \
    || say "it could not be fetched"
# What others need differs from that.
python3 -m pip install --quiet --disable-pip-version-check --target "$directory/schemathesis" \
    "schemathesis==$SCHEMATHESIS" || say "schemathesis could not be fetched"
python3 -m pip install --quiet --disable-pip-version-check --target "$directory/tuf" \
    "tuf==$TUF" "securesystemslib[crypto]==1.6.0" || say "python-tuf could not be fetched"
has_client || say "the tests go without some of them"
