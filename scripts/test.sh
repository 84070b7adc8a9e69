#!/usr/bin/env bash
# Sets up once, then runs the tests in two processes: scripts/test.sh [pytest arguments], paths from the root of the checkout.
set -euo pipefail
root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
"$root/scripts/bootstrap.sh"
venv="$(cd -- "${WSDET_VENV:-$root/.venv}" && pwd -P)"
cd -- "$root"
unset PYTHONDONTWRITEBYTECODE # else each process compiles all tests anew
# each module in one process, whose fixtures it makes once, in the order of tests/conftest.py
exec "$venv/bin/python" -m pytest -n "${WSDET_TEST_PROCESSES:-2}" --dist loadscope --no-loadscope-reorder "$@"
