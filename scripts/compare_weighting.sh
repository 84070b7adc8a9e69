#!/usr/bin/env bash
# Does the confidence of pseudo-boxes help the detector? detector.weighting=none, keep, ignore and weight over five seeds,
# with paired differences: scripts/compare_weighting.sh OUT [overrides of python -m wsdet.train]
# SEEDS=0,1,2 gives other seeds. All runs of a seed share what lies in OUT/shared/SEED; the same command again goes on.
set -euo pipefail
root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
out="${1:?give a folder for the runs: scripts/compare_weighting.sh OUT [overrides]}"
shift
"$root/scripts/bootstrap.sh"
python="${WSDET_VENV:-$root/.venv}/bin/python"
"$python" -m wsdet.train --multirun out="$out" seed="${SEEDS:-0,1,2,3,4}" detector.weighting=none,keep,ignore,weight \
    'hydra.sweep.subdir=${detector.weighting}/${seed}' shared="$out"'/shared/${seed}' 'detector.train_on=[pseudo]' "$@"
"$python" -m wsdet.compare "runs=[$out/none,$out/keep,$out/ignore,$out/weight]" 'show=[detectors.*.map]' \
    out="$out/comparison"
