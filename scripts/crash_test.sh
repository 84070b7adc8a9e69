#!/usr/bin/env bash
# Kills every program with -9 at random moments; what is left in the end must have the same bytes as if nothing had happened.
# scripts/crash_test.sh [KILLS, 20] [FOLDER] [SEED]: minutes on two CPU cores; see crash_test.py.
set -euo pipefail
root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONWARNINGS=ignore
exec "${WSDET_VENV:-$root/.venv}/bin/python" "$root/scripts/crash_test.py" "$@"
