#!/usr/bin/env bash
# Builds the wheel and uses it outside the checkout, in empty environments with the lowest and with the newest versions
# of what it depends on: scripts/check_wheel.sh [PYTHON...], such as 3.12 (default: 3.11 3.12 3.13). Wants uv on the PATH.
# Environments: some gigabytes each, in $WSDET_SCRATCH or a folder of its own, removed at the end.
set -euo pipefail
root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
scratch="$(mktemp -d -- "${WSDET_SCRATCH:-${TMPDIR:-/tmp}}/wheel.XXXXXX")"
trap 'rm -rf -- "$scratch"' EXIT
unset PYTHONPATH
pythons=("$@")
[ ${#pythons[@]} -gt 0 ] || pythons=(3.11 3.12 3.13)

uv build --quiet --wheel --out-dir "$scratch/dist" "$root"
wheel=("$scratch"/dist/wsdet-*.whl)

# $1 Python, $2 "lowest-direct" or "highest"
install() {
    uv venv --quiet --clear --python "$1" "$scratch/venv"
    # compiled, as requirements of a wheel that is installed by its name would all be indirect; --upgrade: anew each time
    uv pip compile --quiet --upgrade "$root/pyproject.toml" --python "$scratch/venv" --resolution "$2" --output-file "$scratch/versions.txt"
    # whatever has no wheel for this Python is an error, not an hour of compiling; antlr4 has none for anyone
    uv pip install --quiet --python "$scratch/venv" --only-binary :all: --no-binary antlr4-python3-runtime \
        --requirements "$scratch/versions.txt" "${wheel[0]}"
    uv pip check --quiet --python "$scratch/venv"
}

use() {
    local bin="$scratch/venv/bin" small=(data.n_train=24 data.n_test=12 limit=12 network.training.epochs=1 device=cpu)
    rm -rf -- "$scratch/work"
    mkdir -- "$scratch/work"
    cd -- "$scratch/work"
    "$bin/python" -W error -c 'import wsdet; wsdet.localize, wsdet.train_detector, wsdet.load; print("wsdet", wsdet.__version__)'
    "$bin/wsdet" --help >help.txt
    "$bin/wsdet" localize "${small[@]}" export='[coco]' out=boxes
    "$bin/wsdet" train "${small[@]}" detector.train_on='[pseudo]' out=run
    "$bin/wsdet" detect model=run/detectors/pseudo images=boxes/export/coco/images device=cpu out=found
    ls boxes/report/index.html run/report/index.html run/metrics.json boxes/export/coco/annotations/instances_train.json
}

for python in "${pythons[@]}"; do
    for resolution in lowest-direct highest; do
        printf '== Python %s, %s versions\n' "$python" "$resolution"
        install "$python" "$resolution"
        grep -E '^(torch|torchvision|numpy|opencv|pillow|pytorch-lightning|scikit-learn|scipy)\S*==' "$scratch/versions.txt" | tr '\n' ' '
        use >"$scratch/log.txt" 2>&1 & # in the background: bash ignores -e in whatever stands before ||
        wait $! || { tail -n 40 -- "$scratch/log.txt"; printf 'failed: Python %s, %s versions\n' "$python" "$resolution"; exit 1; }
        printf '\nimported; localize, train and detect ran\n'
    done
done
