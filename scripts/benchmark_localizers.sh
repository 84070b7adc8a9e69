#!/usr/bin/env bash
# Every localizer and baseline on the same images of one object each, in one table (OUT/table.md, OUT/table.json):
#   scripts/benchmark_localizers.sh tiny_imagenet OUT   the network is trained from the labels first, at 64 pixels
#   scripts/benchmark_localizers.sh voc OUT             SqueezeNet with its ImageNet weights
# Overrides go to the end: limit=N images, network.weights=FILE of an earlier training, device=cuda. Those of one
# localizer begin with its name: sensitivity.weights=FILE, eiss.stride=8; split=train takes the training images instead
# of the test images; only=cam,dam measures these alone. Localizers that lack a setting are left out, and named. The
# same command again goes on where it was stopped. Data and weights are looked for in ../shared, or $WSDET_SHARED.
set -euo pipefail
root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
usage="scripts/benchmark_localizers.sh tiny_imagenet|voc OUT [overrides]"
data="${1:?$usage}" out="${2:?$usage}"
shift 2
shared="${WSDET_SHARED:-$root/../shared}"
case "$data" in
tiny_imagenet) chosen=(data.root="$shared/data/tiny-imagenet-20" network=tiny network.input_size=64 network.activation=softmax) ;;
voc) chosen=(data.root="$shared/data/VOCdevkit" network=squeezenet1_0 network.weights="$shared/weights/squeezenet1_0_deepcompression.safetensors") ;;
*)
    printf '%s\n' "$usage" >&2
    exit 2
    ;;
esac
chosen+=(center_box.width=null center_box.height=null) # the average size of the training images' ground-truth boxes
"$root/scripts/bootstrap.sh"
exec "${WSDET_VENV:-$root/.venv}/bin/python" "$root/scripts/benchmark_localizers.py" data="$data" out="$out" "${chosen[@]}" "$@"
