"""Kills wsdet's programs with -9 at random moments and compares what is left with what runs left alone leave.

    python scripts/crash_test.py [KILLS] [FOLDER] [SEED] [--only PROGRAM ...]

A small experiment goes through every stage: classifier, localizer, proposals, feature maps, mining, detectors and
their box regressors, detections, the regressor of localizer=sensitivity, pseudo-boxes with their exports, exports of
a store, and detections in photos. Each program is killed in its turn, and after every kill the same command goes on;
kills that are left when all are through go to a further round in a new folder. In the end every file of every round
must have the same bytes as in the run that was left alone, which has another hash seed. The libraries are loaded once
and each program is a fork of this process, so that kills hit its work, not its start. Linux.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

_DATA = ("data.n_train=24", "data.n_test=8", "data.size=64")
_SMALL = (*_DATA, "network.input_size=64", "network.training.epochs=3", "workers=2", "device=cpu", "report=false")
# by the folder that each leaves; paths are relative, so that what is written does not depend on where it lies
PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "run": ("wsdet.train", *_SMALL, "detector.protocols.fast.rounds=1", "detector.box_regression=true"),
    "regressor": ("wsdet.train", *_SMALL, "task=box_regressor"),
    "boxes": ("wsdet.localize", *_SMALL, "localizer=stl_fast", "export=[voc,yolo]", "images=copy"),
    "proposed": ("wsdet.propose", *_DATA, "proposals=edge_boxes", "workers=2"),
    "exported": ("wsdet.export", "data=synthetic", *_DATA, "boxes=boxes", "format=coco", "images=copy"),
    "found": ("wsdet.detect", "model=run/detectors/pseudo", "images=exported/images", "workers=2", "device=cpu"),
}
# they tell the time, or the folder's place
_LEFT_OUT = {"log.txt", "config.yaml", "timings.json", "finished.json", ".lock"}
_MEASURED = {"seconds", "peak_mb"}  # keys of JSON files that say how the work went, not what came of it
_OUTPUT = "output_of_{}.txt"
_SECONDS = "seconds.json"


def main() -> None:
    """Ends with status 1 if a file differs, or a program that nobody kills fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", nargs="?", type=int, default=20)
    parser.add_argument("folder", nargs="?", type=Path, help="a new one; none: a temporary one")
    parser.add_argument("seed", nargs="?", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=PROGRAMS, default=list(PROGRAMS), metavar="PROGRAM")
    parser.add_argument("--killed", action="store_true", help=argparse.SUPPRESS)  # the second half
    arguments = parser.parse_args()
    _load_libraries()
    folder = (arguments.folder or Path(tempfile.mkdtemp())).resolve()
    if not arguments.killed:
        _leave_alone(folder, arguments.only)
        # sets and dictionaries of text in another order: what is written must not depend on it
        again = [str(arguments.kills), str(folder), str(arguments.seed), "--killed", "--only", *arguments.only]
        environment = os.environ | {"PYTHONHASHSEED": str(arguments.seed)}
        os.execve(sys.executable, [sys.executable, __file__, *again], environment)
    sys.exit(_compare_with_killed(folder, arguments.only, arguments.kills, random.Random(arguments.seed)))


def _load_libraries() -> None:
    import torch

    for name in ("cv2", "hotcoco", "hydra.main", "pyarrow.parquet", "pytorch_lightning", "sklearn.svm", "torchvision"):
        importlib.import_module(name)
    stages = ("stages.evaluate", "stages.export", "stages.detect", "report.page", "training.classifier")
    for module in (*stages, "networks.classifier", "detectors.rcnn.detector"):
        importlib.import_module(f"wsdet.{module}")
    torch.set_num_threads(1)  # a fork of a process with threads would miss them


def _leave_alone(folder: Path, names: list[str]) -> None:
    seconds = {}
    for name in names:
        start = time.monotonic()
        _run_to_the_end(folder / "whole", name)
        seconds[name] = time.monotonic() - start
        print(f"left alone: {name} takes {seconds[name]:.1f} s", flush=True)
    (folder / _SECONDS).write_text(json.dumps(seconds))


def _compare_with_killed(folder: Path, names: list[str], kills: int, chance: random.Random) -> int:
    seconds = json.loads((folder / _SECONDS).read_text())
    whole, different = _content(folder / "whole"), 0
    for number in count(1):
        killed = folder / f"killed_{number}"
        for name in names:
            in_turn = round(kills / len(names)) or 1
            # in all they go a little further than the program's end
            moments = [2 * chance.random() * seconds[name] / in_turn for _ in range(in_turn)]
            for after in moments[:kills]:
                status = _run(killed, name, after)
                if os.WIFEXITED(status):
                    _demand_success(killed, name, status)
                    break
                kills -= 1
                print(f"killed {name} after {after:.1f} s: {_last_line(killed, name)}", flush=True)
            _run_to_the_end(killed, name)
        there = _content(killed)
        wrong = [name for name in sorted(whole.keys() | there.keys()) if whole.get(name) != there.get(name)]
        print(f"round {number}: {len(there)} files, {len(wrong)} differ", *wrong[:20], sep="\n  ", flush=True)
        different += len(wrong)
        if kills <= 0:
            break
    print("some files differ" if different else "every file is byte for byte as if nothing had happened")
    return int(different > 0)


def _run_to_the_end(folder: Path, name: str) -> None:
    _demand_success(folder, name, _run(folder, name))


def _demand_success(folder: Path, name: str, status: int) -> None:
    if status:
        sys.exit(f"{name} ended with {os.waitstatus_to_exitcode(status)}; {folder / _OUTPUT.format(name)} says why")


def _run(folder: Path, name: str, killed_after: float = float("inf")) -> int:
    """What `os.waitpid` says of the program, which is killed with all its children when its time is up."""
    folder.mkdir(parents=True, exist_ok=True)
    start, child = time.monotonic(), os.fork()
    if child == 0:
        os._exit(_program(folder, name))
    os.setpgid(child, child)  # as leader of a group, it is killed with all its children
    while time.monotonic() - start < killed_after:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.005)
    os.killpg(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def _program(folder: Path, name: str) -> int:
    """Becomes the program, in the folder and with its output there; its exit status."""
    os.chdir(folder)
    output = os.open(_OUTPUT.format(name), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    module, *overrides = PROGRAMS[name]
    sys.argv = [module, *overrides, f"out={name}"]
    try:
        importlib.import_module(module).main()
    except SystemExit as end:
        return int(bool(end.code))
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1
    return 0


def _last_line(folder: Path, name: str) -> str:
    path = folder / _OUTPUT.format(name)
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""  # killed before it began
    lines = [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
    return lines[-1][:100] if lines else "(nothing said yet)"


def _content(folder: Path) -> dict[str, bytes]:
    files = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name in _LEFT_OUT or path.match(_OUTPUT.format("*")):
            continue
        data = path.read_bytes()
        if path.suffix == ".json":
            data = json.dumps(_without_measured(json.loads(data))).encode()
        files[str(path.relative_to(folder))] = data
    return files


def _without_measured(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_measured(inner) for key, inner in value.items() if key not in _MEASURED}
    return [_without_measured(inner) for inner in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
