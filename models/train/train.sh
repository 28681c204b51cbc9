#!/bin/sh
# Trains and packages the models anew: all of them, or those named (bearing, anomaly, defects).
# Seeds are fixed. On one x86 core all three take about half an hour.
set -eu
cd "$(dirname "$0")"
export ORT_DISABLE_TELEMETRY=1 OMP_NUM_THREADS=1
venv=${VENV:-${TMPDIR:-/tmp}/eir-train/venv}
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet -r requirements.txt
fi
[ $# -gt 0 ] || set -- bearing anomaly defects
for model; do
    "$venv/bin/python" "$model.py"
done
"$venv/bin/python" verify.py
