#!/usr/bin/env bash
# Every benchmark, and one table of them: scripts/bench_all.sh [folder] [options of every benchmark, such as --device cuda]
# Leaves table.md, table.json and each benchmark's own figures in the folder (outputs/bench). Under 15 minutes on two cores.
set -euo pipefail
root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
"$root/scripts/bootstrap.sh"
python="$(cd -- "${WSDET_VENV:-$root/.venv}" && pwd -P)/bin/python"
out="${1:-outputs/bench}"
mkdir -p -- "$out"
bench() { # name, arguments of its own
    local name="$1"
    shift
    "$python" "$root/scripts/bench_$name.py" --json "$out/$name.json" "$@"
}
common=("${@:2}")
bench startup
bench stl "${common[@]}"
bench incremental --images 0 --batch-size 8 --rounds 2 \
    --architectures squeezenet1_0 tiny alexnet resnet50 vgg16 mobilenet_v2 "${common[@]}"
bench localizers "${common[@]}"
bench detector "${common[@]}"
bench growth
bench budget
bench proposals --images 30
bench peers --photos 2 --rounds 1
"$python" "$root/scripts/print_bench_table.py" "$out"
