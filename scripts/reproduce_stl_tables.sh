#!/usr/bin/env bash
# Every row of Tables 1 and 2 of the self-taught localization paper (Bazzani et al., WACV 2016) beside the paper's numbers:
#   scripts/reproduce_stl_tables.sh OUT data=voc data.root=VOCdevkit network=squeezenet1_0 network.weights=FILE [limit=N ...]
# A row is "boxes of the positives + boxes of the negatives and the test", trained by the paper's own protocol
# (detector.protocol=stl; another one, or detector.features=warp, is an override like any other). Proposals, pseudo-boxes and
# feature maps are computed once for all rows and seeds, which differ in the detectors' random choices alone; a classifier
# trained from the labels is to be given by network.weights. The same command again goes on where it was stopped.
#   SEEDS="0 1 2"    seeds
#   ROWS="stl_cl-selective_search ground_truth-selective_search"    these rows alone, as POSITIVES-NEGATIVES
#   SHARED=FOLDER    where proposals, pseudo-boxes and feature maps lie; OUT/shared when not given
#   TOP_K=3          positives per image and label: 3 as in the tables, or 1
#   STL=stl_cl       the localizer of the rows STL-CL; stl_fast is its cheap variant
#   SEGMENTATIONS=[[lab,100]]   those of STL-CL and STL-WL, for less time than the paper's four take
#   BING=FOLDER      the model of BING; without it BING's rows are left out
#   MCG=PATH         MCG's published boxes of these images, a folder or a file; without it MCG's row is left out.
#   MCG_OPTIONS="proposals.order=yxyx proposals.counting=from_1"   how they are written: see conf/proposals/files.yaml
#   PUBLISHED=FILE   stl_published_figures.json, for the paper's numbers
set -euo pipefail
root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
out="${1:?give a folder for the runs: scripts/reproduce_stl_tables.sh OUT data=... network=... [overrides]}"
shift
"$root/scripts/bootstrap.sh"
python="${WSDET_VENV:-$root/.venv}/bin/python"
beside="$root/../shared"
bing="${BING:-$beside/models/BING}"
published="${PUBLISHED:-$beside/reference/stl_published_figures.json}"
shared="${SHARED:-$out/shared}"
read -r -a mcg_options <<<"${MCG_OPTIONS:-}"
overrides=("$@")

# what chooses a source of proposals; Selective Search's order is random, and the same for every seed of a row
settings_of() {
    case "$1" in
    bing) printf '%s\n' proposals=bing proposals.model="$bing" ;;
    mcg) printf '%s\n' proposals=files names.proposals=mcg proposals.path="$MCG" ${mcg_options[@]+"${mcg_options[@]}"} ;;
    selective_search) printf '%s\n' proposals=selective_search proposals.seed=0 ;;
    stl_wl) printf '%s\n' proposals=stl_wl ${SEGMENTATIONS:+proposals.localizer.segmentations="$SEGMENTATIONS"} ;;
    *) printf '%s\n' proposals="$1" ;;
    esac
}

# what makes the row's positives: pseudo-boxes of a localizer, a source's first boxes, or ground truth
positives_of() {
    local stl=(localizer="${STL:-stl_cl}" ${SEGMENTATIONS:+localizer.segmentations="$SEGMENTATIONS"})
    case "$1" in
    stl_cl) printf '%s\n' "${stl[@]}" 'detector.train_on=[pseudo]' ;;
    stl_cl_no_drop)
        printf '%s\n' "${stl[@]}" 'detector.train_on=[pseudo]' names.localizer=stl_cl_no_drop \
            'localizer.weights={drop:0,appearance:0.3333333333,size:0.3333333333,fill:0.3333333334}'
        ;;
    ground_truth) printf '%s\n' localizer=full_image 'detector.train_on=[ground_truth]' ;;
    *)
        printf '%s\n' localizer=proposals names.localizer="$1" proposals@localizer.source=files \
            localizer.source.path="$shared/proposals/$1" 'detector.train_on=[pseudo]'
        ;;
    esac
}

data_overrides() { # those that python -m wsdet.propose knows too
    for one in "${overrides[@]}"; do
        case "$one" in data* | limit=* | workers=* | strict=*) printf '%s\n' "$one" ;; esac
    done
}

row() { # POSITIVES-NEGATIVES
    local positives negatives
    mapfile -t positives < <(positives_of "${1%%-*}")
    mapfile -t negatives < <(settings_of "${1#*-}")
    for seed in ${SEEDS:-0}; do
        "$python" -m wsdet.train out="$out/rows/$1/$seed" shared="$shared" seed="$seed" report=false detector.protocol=stl \
            detector.box_regression=false detector.top_k="${TOP_K:-3}" detector.keep_above=null "${negatives[@]}" "${positives[@]}" "${overrides[@]}"
    done
}

rows=(ground_truth-selective_search stl_cl-selective_search stl_cl-stl_wl selective_search-selective_search
    edge_boxes-selective_search edge_boxes-edge_boxes bing-selective_search bing-bing mcg-mcg stl_cl_no_drop-selective_search)
read -r -a chosen <<<"${ROWS:-${rows[*]}}"
mapfile -t of_data < <(data_overrides)
proposed=' '
for name in "${chosen[@]}"; do
    case "$name" in
    *bing*) [ -d "$bing" ] || { printf '%s is left out: BING=%s is no folder\n' "$name" "$bing" >&2; continue; } ;;
    *mcg*)
        [ -e "${MCG:-}" ] || {
            printf '%s is left out: MCG=PATH must name the published boxes, and MCG=%s does not exist\n' "$name" "${MCG:-}" >&2
            continue
        }
        ;;
    esac
    source="${name%%-*}"
    case "$source" in
    stl_cl* | ground_truth) ;;
    *) # its first boxes are the positives, so they must be there
        if [[ "$proposed" != *" $source "* ]]; then
            mapfile -t settings < <(settings_of "$source")
            for seed in ${SEEDS:-0}; do # with limit=N, a seed draws its own images
                "$python" -m wsdet.propose out="$shared" seed="$seed" "${settings[@]}" "${of_data[@]}"
            done
            proposed+="$source "
        fi
        ;;
    esac
    row "$name"
done

[ -f "$published" ] || printf 'PUBLISHED=%s is no file: the paper'\''s numbers are left out\n' "$published" >&2
"$python" "$root/scripts/print_stl_tables.py" "$out" "${TOP_K:-3}" "$published"
