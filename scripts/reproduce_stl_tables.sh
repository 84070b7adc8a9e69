#!/usr/bin/env bash
# Every row of Tables 1 and 2 of the self-taught localization paper (Bazzani et al., WACV 2016) beside the paper's numbers:
#   scripts/reproduce_stl_tables.sh OUT data=voc data.root=VOCdevkit network=squeezenet1_0 network.weights=FILE [limit=N ...]
# A row is "boxes of the positives + boxes of the negatives and the test". Proposals, pseudo-boxes and feature maps lie in
# OUT/shared and are computed once for all rows and seeds, which differ in the detectors' random choices alone; a classifier
# trained from the labels is to be given by network.weights. The same command again goes on where it was stopped.
#   SEEDS="0 1 2"    seeds
#   TOP_K=3          boxes of an image and label that are positives: 3 as in the tables, or 1
#   STL=stl_cl       the localizer of the rows STL-CL; stl_fast is its cheap variant
#   SEGMENTATIONS=[[lab,100]]   those of STL-CL and STL-WL, for less time than the paper's four take
#   BING=FOLDER      the model of BING; without it BING's rows are left out
#   PUBLISHED=FILE   stl_published_figures.json, for the paper's numbers
set -euo pipefail
root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
out="${1:?give a folder for the runs: scripts/reproduce_stl_tables.sh OUT data=... network=... [overrides]}"
shift
"$root/scripts/bootstrap.sh"
python="${WSDET_VENV:-$root/.venv}/bin/python"
shared="$root/../shared"
bing="${BING:-$shared/models/BING}"
published="${PUBLISHED:-$shared/reference/stl_published_figures.json}"
overrides=("$@")

# what chooses a source of proposals; Selective Search's order is random, and the same for every seed of a row
settings_of() {
    case "$1" in
    bing) printf '%s\n' proposals=bing proposals.model="$bing" ;;
    selective_search) printf '%s\n' proposals=selective_search proposals.seed=0 ;;
    stl_wl) printf '%s\n' proposals=stl_wl ${SEGMENTATIONS:+proposals.localizer.segmentations="$SEGMENTATIONS"} ;;
    *) printf '%s\n' proposals="$1" ;;
    esac
}

# what makes a source's first boxes the positives
first_boxes_of() {
    printf '%s\n' localizer=proposals names.localizer="$1" proposals@localizer.source=files \
        localizer.source.path="$out/shared/proposals/$1"
}

data_overrides() { # those that python -m wsdet.propose knows too
    for one in "${overrides[@]}"; do
        case "$one" in data* | limit=* | workers=* | strict=*) printf '%s\n' "$one" ;; esac
    done
}

row() { # POSITIVES NEGATIVES overrides...
    local name="$1-$2" negatives
    mapfile -t negatives < <(settings_of "$2")
    shift 2
    for seed in ${SEEDS:-0}; do
        "$python" -m wsdet.train out="$out/rows/$name/$seed" shared="$out/shared" seed="$seed" report=false \
            detector.top_k="${TOP_K:-3}" "${negatives[@]}" "$@" "${overrides[@]}"
    done
}

sources=(edge_boxes selective_search)
if [ -d "$bing" ]; then
    sources=(bing "${sources[@]}")
else
    printf 'BING=%s is no folder: the rows of BING are left out\n' "$bing" >&2
fi
mapfile -t of_data < <(data_overrides)
for source in "${sources[@]}"; do
    mapfile -t settings < <(settings_of "$source")
    for seed in ${SEEDS:-0}; do # with limit=N, a seed draws its own images
        "$python" -m wsdet.propose out="$out/shared" seed="$seed" "${settings[@]}" "${of_data[@]}"
    done
done

pseudo='detector.train_on=[pseudo]'
stl=(localizer="${STL:-stl_cl}" ${SEGMENTATIONS:+localizer.segmentations="$SEGMENTATIONS"})
row stl_cl selective_search "${stl[@]}" "$pseudo"
row ground_truth selective_search "${stl[@]}" 'detector.train_on=[ground_truth]'
for source in "${sources[@]}"; do
    mapfile -t positives < <(first_boxes_of "$source")
    row "$source" selective_search "${positives[@]}" "$pseudo"
    [ "$source" = selective_search ] || row "$source" "$source" "${positives[@]}" "$pseudo"
done
row stl_cl stl_wl "${stl[@]}" "$pseudo"

[ -f "$published" ] || printf 'PUBLISHED=%s is no file: the paper'\''s numbers are left out\n' "$published" >&2
"$python" "$root/scripts/print_stl_tables.py" "$out" "${TOP_K:-3}" "$published"
