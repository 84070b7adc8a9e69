#!/usr/bin/env bash
# Kills a small experiment with -9 at random moments until it is through, and compares it with one that was left alone:
# every file must have the same bytes. scripts/crash_test.sh [KILLS, 20] [FOLDER] [SEED]; minutes on two CPU cores.
# Stages: classifier, localize, propose, features and mining, detect, box regressor, export, detect on photos.
set -euo pipefail
root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
kills="${1:-20}"
folder="${2:-$(mktemp -d)}"
RANDOM="${3:-1}"
python="${WSDET_VENV:-$root/.venv}/bin/python"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONWARNINGS=ignore

small=(data.n_train=24 data.n_test=8 data.size=64 network.input_size=64 network.training.epochs=3
    detector.protocols.fast.rounds=1 workers=2 device=cpu report=false)

# in the folder of one experiment; paths are relative, so that what is written does not depend on where it lies
pipeline() {
    "$python" -m wsdet.train "${small[@]}" out=run || return
    "$python" -m wsdet.train "${small[@]}" task=box_regressor out=regressor || return
    for format in coco voc parquet; do
        "$python" -m wsdet.export boxes=run/localization/stl_fast "${small[@]:0:3}" \
            format=$format images=copy out=exported/$format || return
    done
    "$python" -m wsdet.detect model=run/detectors/pseudo images=exported/coco/images workers=2 device=cpu out=found
}

# $1: seconds after which it is killed with all its children; 0: never. Whether it came to its end.
attempt() {
    set -m
    (pipeline) >>output.txt 2>&1 &
    local child=$! deadline
    set +m
    if [ "$1" != 0 ]; then
        deadline=$(("$(date +%s%N)" + 1000000 * $1))
        while [ "$(date +%s%N)" -lt "$deadline" ]; do
            kill -0 "$child" 2>/dev/null || break
            sleep 0.05
        done
        kill -9 -- "-$child" 2>/dev/null || true
    fi
    wait "$child" 2>/dev/null
}

mkdir -p "$folder/whole" "$folder/killed"
cd "$folder/whole"
start=$(date +%s%N)
attempt 0 || { tail -n 5 output.txt; exit 1; }
whole_ms=$((("$(date +%s%N)" - start) / 1000000))
start=$(date +%s%N)
"$python" -c 'import torch, torchvision, pytorch_lightning, sklearn.metrics, wsdet.train'
loading_ms=$((("$(date +%s%N)" - start) / 1000000))
echo "left alone: $((whole_ms / 1000)) s, of which a start takes $((loading_ms / 1000)) s"

cd "$folder/killed"
done_kills=0
while [ "$done_kills" -lt "$kills" ]; do
    # by then a start is through on average, and the steps together go a little further than to the end
    after=$((loading_ms / 2 + (RANDOM * 32768 + RANDOM) % (loading_ms + 2 * whole_ms / kills)))
    if attempt "$after"; then
        echo "through after $done_kills kills: starting a further one"
        rm -rf -- "$folder/killed.through"
        mkdir "$folder/killed.through"
        mv -- * "$folder/killed.through/"
        continue
    fi
    done_kills=$((done_kills + 1))
    echo "kill $done_kills after $after ms: $(tr '\r' '\n' <output.txt | grep -v '^ *$' | tail -n 1 | cut -c1-100)"
done
attempt 0 || { tail -n 5 output.txt; exit 1; }

# what tells the time, or the folder's place, is left out
"$python" - "$folder/whole" "$folder/killed" <<'PYTHON'
import json
import sys
from pathlib import Path

TIMES = {"log.txt", "config.yaml", "ledger.json", "finished.json", "output.txt", ".lock"}


def without_seconds(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_seconds(inner) for key, inner in value.items() if key != "seconds"}
    return [without_seconds(inner) for inner in value] if isinstance(value, list) else value


def content(folder: Path) -> dict[str, bytes]:
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in TIMES:
            data = path.read_bytes()
            if path.suffix == ".json":
                data = json.dumps(without_seconds(json.loads(data))).encode()
            files[str(path.relative_to(folder))] = data
    return files


whole, killed = (content(Path(folder)) for folder in sys.argv[1:])
different = [name for name in sorted(whole.keys() | killed.keys()) if whole.get(name) != killed.get(name)]
print(f"{len(whole)} files, {len(different)} differ", *different[:20], sep="\n  ")
sys.exit(bool(different))
PYTHON
echo "every file is byte for byte as if nothing had happened"
