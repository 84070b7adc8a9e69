#!/usr/bin/env bash
# The engine, the region classifier and a detector's training step on a GPU, in under three minutes: a table, and
# bench_gpu.json in $OUT. No set-up: the Python that has torch is enough (PYTHON=..., options of scripts/bench_gpu.py).
set -euo pipefail
root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
PYTHONPATH="$root" exec "${PYTHON:-python3}" "$root/scripts/bench_gpu.py" "$@"
