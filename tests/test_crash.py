"""Killed at random moments, a run ends with the bytes of one left alone; scripts/crash_test.sh kills every program."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import programs

TIMES = {"log.txt", "config.yaml", "timings.json", ".lock"}  # what tells the time, or where it lies

# each run is a fork of this process, killed with -9 after a share of what a whole one takes
PROGRAM = """
import os, random, signal, sys, time
from pathlib import Path
import pytorch_lightning, sklearn.metrics, torch, torchvision
import wsdet.evaluate, wsdet.export, wsdet.networks.classifier, wsdet.report.page, wsdet.training.classifier
from wsdet.localize import main

def run(folder, killed_after=float("inf")):
    Path(folder).mkdir(exist_ok=True)
    start, child = time.monotonic(), os.fork()
    if child == 0:
        os.chdir(folder)
        try:
            main()
        except SystemExit as end:
            os._exit(int(bool(end.code)))
        os._exit(0)
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() - start > killed_after:
            os.kill(child, signal.SIGKILL)
            ended = os.waitpid(child, 0)
            break
        time.sleep(0.005)
    return ended[1], time.monotonic() - start

whole, killed = sys.argv.pop(1), sys.argv.pop(1)
torch.set_num_threads(1)
status, seconds = run(whole)
chance = random.Random(0)
kills = [run(killed, killed_after=chance.uniform(0.2, 0.7) * seconds)[0] == signal.SIGKILL for _ in range(3)]
print(status, sum(kills), run(killed)[0])
"""
OVERRIDES = (
    *("data.n_train=6", "data.n_test=2", "data.size=64", "network.input_size=32", "network.training.epochs=3"),
    *("localizer=stl_fast", "workers=0", "device=cpu", "report=false", "export=[coco,yolo]", "images=copy", "out=run"),
)


def content(folder: Path) -> dict[str, bytes]:
    of_run = [path for path in folder.rglob("*") if path.is_file() and "log" not in path.parts]  # a file for each start
    files = {str(path.relative_to(folder)): path for path in of_run}
    found = {name: path.read_bytes() for name, path in files.items() if path.name not in TIMES}
    trained = json.loads(found.pop("run/classifier/training.json"))
    return found | {"trained": json.dumps({key: trained[key] for key in trained if key != "seconds"}).encode()}


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    folders = (tmp_path / "whole", tmp_path / "killed")
    with programs.start(PROGRAM, *map(str, folders), *OVERRIDES) as started:
        done = started.done(timeout=1200)
    status, kills, last_status = done.stdout.split()[-3:]
    assert (status, last_status) == ("0", "0"), done.stderr
    assert int(kills) > 0
    whole, killed = (content(folder) for folder in folders)
    assert whole.keys() == killed.keys()
    assert [name for name in whole if whole[name] != killed[name]] == []
