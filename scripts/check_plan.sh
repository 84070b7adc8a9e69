#!/usr/bin/env bash
# How near `wsdet.doctor plan` comes on three kinds of data, three localizers each: about 20 minutes on two free cores.
# scripts/check_plan.sh SHARED [further settings of wsdet.train]: SHARED has data/VOCdevkit, data/own/raccoon and weights.
set -euo pipefail
root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONWARNINGS=ignore
shared="${1:?give the folder of data and weights}"
shift
check() { "${WSDET_VENV:-$root/.venv}/bin/python" "$root/scripts/check_plan.py" --localizers vote wsddn cam -- "$@"; }
photos=(network=squeezenet1_0 "network.weights=$shared/weights/squeezenet1_0_deepcompression.safetensors")
check limit=60 "$@"
check data=voc "data.root=$shared/data/VOCdevkit" limit=100 "${photos[@]}" "$@"
check data=auto "data.root=$shared/data/own/raccoon" limit=60 "${photos[@]}" "$@"
