#!/usr/bin/env bash
# Sets up the virtual environment of this checkout: .venv, or $WSDET_VENV. Made by $WSDET_PYTHON, or python3.
# A second call returns at once, until pyproject.toml, constraints.txt, this script, Python or the checkout's place change.
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
venv="${WSDET_VENV:-$root/.venv}"
[[ "$venv" == /* ]] || venv="$PWD/$venv"
python="${WSDET_PYTHON:-python3}"
stamp="$venv/.wsdet-stamp"

say() { printf 'wsdet: %s\n' "$*" >&2; }
stop() {
    say "$@"
    exit 1
}

fingerprint() {
    cat -- "$root/pyproject.toml" "$root/constraints.txt" "$root/scripts/bootstrap.sh"
    printf '%s\n' "$root"
    "$venv/bin/python" -ISc 'import sys; print(sys.version)'
}

is_ready() {
    [ -f "$stamp" ] && [ -x "$venv/bin/python" ] && [ "$(fingerprint 2>&1 | cksum)" = "$(cat -- "$stamp")" ]
}

check_python() {
    command -v -- "$python" >/dev/null ||
        stop "no $python on the PATH: install Python 3.11 or newer, or name one by WSDET_PYTHON=/path/to/python"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        stop "$python is $("$python" --version 2>&1), 3.11 or newer is needed: name one by WSDET_PYTHON=/path/to/python"
}

is_usable() {
    "$venv/bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# One whose making was cut short, or whose Python went away, is made anew; what lies in a folder of another name is left alone.
make_venv() {
    is_usable && return
    check_python
    [ "$venv" = "$root/.venv" ] || [ -z "$(ls -A -- "$venv")" ] ||
        stop "$venv holds no virtual environment of Python 3.11 or newer with pip: give another folder by WSDET_VENV"
    "$python" -m venv --clear -- "$venv" ||
        stop "$python could not make $venv; on Debian and Ubuntu install the package python3-venv"
}

install() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv ||
        stop "pip could not install uv: is there a network, and do pip's settings name an index that can be reached?"
    (cd -- "$root" && "$venv/bin/python" -m uv pip install --quiet --python "$venv/bin/python" -c constraints.txt -e '.[dev]') ||
        stop "the packages could not be installed, for the reason above; the same command goes on where this one stopped"
}

check_pair() {
    "$venv/bin/python" -c 'import torch, torchvision
torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)' ||
        stop "torch and torchvision in $venv do not fit together: delete that folder and run this again"
}

is_ready && exit 0
mkdir -p -- "$venv"
if command -v flock >/dev/null; then # two commands started at once: the second waits, then finds all done
    exec 9<"$root/pyproject.toml"
    flock 9
    is_ready && exit 0
fi
say "setting up $venv (once, about a minute)"
make_venv
install
check_pair
fingerprint | cksum >"$stamp"
say "set up in $SECONDS s"
