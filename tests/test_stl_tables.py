"""The script of the STL paper's tables asks for the right runs, and prints them beside the paper's numbers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from wsdet.cli.entry_point import CONF

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
ROWS = {
    ("stl_cl", "selective_search"),
    ("ground_truth", "selective_search"),
    ("bing", "selective_search"),
    ("bing", "bing"),
    ("edge_boxes", "selective_search"),
    ("edge_boxes", "edge_boxes"),
    ("selective_search", "selective_search"),
    ("stl_cl", "stl_wl"),
}


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """What the script would run: its Python only writes down what it is called with."""
    folder = tmp_path_factory.mktemp("tables")
    python, calls = folder / "venv" / "bin" / "python", folder / "calls"
    (folder / "scripts").mkdir()
    (folder / "model").mkdir()
    python.parent.mkdir(parents=True)
    shutil.copy(SCRIPTS / "reproduce_stl_tables.sh", folder / "scripts")
    for path, program in (
        (folder / "scripts" / "bootstrap.sh", "exit 0"),
        (python, f"printf '%s\\n' \"$@\" '' >> '{calls}'"),
    ):
        path.write_text(f"#!/usr/bin/env bash\n{program}\n")
        path.chmod(0o755)
    environment = {"WSDET_VENV": str(folder / "venv"), "BING": str(folder / "model"), "SEEDS": "0 1"}
    subprocess.run(
        ["bash", folder / "scripts" / "reproduce_stl_tables.sh", folder / "out", "data.n_train=40", "limit=5"],
        env=os.environ | environment,
        check=True,
        capture_output=True,
    )
    return [call.split("\n") for call in calls.read_text().strip("\n").split("\n\n")]


def test_every_row_is_one_run_a_seed(commands: list[list[str]]) -> None:
    seen = set()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for command in commands:
            if command[1] == "wsdet.propose":
                cfg: Any = compose("propose", command[2:])
                assert cfg.out.endswith("/shared")
                assert cfg.limit == 5
            elif command[1] == "wsdet.train":
                cfg = compose("train", command[2:])
                row, seed = Path(cfg.out).parts[-2:]
                positives, negatives = row.split("-")
                seen.add((positives, negatives))
                assert cfg.seed == int(seed)
                assert cfg.shared.endswith("/shared")
                assert cfg.detector.top_k == 3
                assert cfg.data.n_train == 40
                expected = "ground_truth" if positives == "ground_truth" else "pseudo"
                assert cfg.detector.train_on == [expected]
                if positives not in ("stl_cl", "ground_truth"):
                    assert cfg.localizer.source.path == f"{cfg.shared}/proposals/{positives}"
                assert command[2:].count(f"proposals={negatives}") == 1
    assert seen == ROWS
    assert len([command for command in commands if command[1] == "wsdet.train"]) == 2 * len(ROWS)
    # a source's boxes are there before they are taken for positives
    assert [command[1] for command in commands].index("wsdet.train") == 2 * 3


def test_the_table_stands_beside_the_paper_s(tmp_path: Path) -> None:
    for row, key, values in (
        ("stl_cl-selective_search", "pseudo", (0.2, 0.3)),
        ("ground_truth-selective_search", "ground_truth", (0.5, 0.5)),
    ):
        for seed, value in enumerate(values):
            folder = tmp_path / "rows" / row / str(seed)
            folder.mkdir(parents=True)
            (folder / "config.yaml").write_text(f"seed: {seed}\n")
            (folder / "metrics.json").write_text(json.dumps({"detectors": {key: {"map": value}}}))
    published = tmp_path / "published.json"
    figures = {"stl_cl": [0.1, 0.3], "ground_truth": [0.2, 0.3], "stl_cl_top1": [0.15]}
    published.write_text(json.dumps({"detection_average_precision_200_classes": figures}))
    command = [sys.executable, str(SCRIPTS / "print_stl_tables.py"), str(tmp_path), "3", str(published)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()]
    assert ["stl_cl", "selective_search", "0.250", "0.071", "2", "0.500", "0.200", "0.800"] in lines
    assert ["ground_truth", "selective_search", "0.500", "0.000", "2", "1.000", "0.250", "1.000"] in lines
    assert ["bing", "bing", "-", "-", "0", "-", "-", "-"] in lines
    assert json.loads((tmp_path / "tables.json").read_text())["top_k"] == 3
