#!/usr/bin/env bash
# Sets up once, then runs the whole experiment: scripts/train.sh [overrides], as `python -m wsdet.train` takes them.
set -euo pipefail
root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
"$root/scripts/bootstrap.sh"
exec "${WSDET_VENV:-$root/.venv}/bin/python" -m wsdet.train "$@"
