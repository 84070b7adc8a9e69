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
    ("stl_cl_no_drop", "selective_search"),
    ("mcg", "mcg"),
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
    environment = {
        "WSDET_VENV": str(folder / "venv"),
        "BING": str(folder / "model"),
        "MCG": str(folder / "model"),
        "MCG_OPTIONS": "proposals.order=yxyx proposals.counting=from_1",
        "SEEDS": "0 1",
    }
    subprocess.run(
        ["bash", folder / "scripts" / "reproduce_stl_tables.sh", folder / "out", "data.n_train=40", "limit=5"],
        env=os.environ | environment,
        check=True,
        capture_output=True,
    )
    return [call.split("\n") for call in calls.read_text().strip("\n").split("\n\n")]


@pytest.mark.slow
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
                assert cfg.detector.protocol == "stl"
                assert cfg.data.n_train == 40
                expected = "ground_truth" if positives == "ground_truth" else "pseudo"
                assert cfg.detector.train_on == [expected]
                if positives == "stl_cl_no_drop":
                    assert cfg.localizer.weights.drop == 0
                    assert sum(cfg.localizer.weights.values()) == pytest.approx(1)
                elif positives not in ("stl_cl", "ground_truth"):
                    assert cfg.localizer.source.path == f"{cfg.shared}/proposals/{positives}"
                assert _named(negatives, command)
                if negatives == "mcg":
                    assert (cfg.proposals.order, cfg.proposals.counting) == ("yxyx", "from_1")
    assert seen == ROWS
    assert len([command for command in commands if command[1] == "wsdet.train"]) == 2 * len(ROWS)
    # a source's boxes are there before they are taken for positives
    for source in {positives for positives, _ in ROWS} - {"stl_cl", "stl_cl_no_drop", "ground_truth"}:
        made = [i for i, c in enumerate(commands) if c[1] == "wsdet.propose" and _named(source, c)]
        assert min(made) < min(i for i, c in enumerate(commands) if f"names.localizer={source}" in c)


def _named(source: str, command: list[str]) -> bool:
    return f"names.proposals={source}" in command or f"proposals={source}" in command


def test_rows_can_be_chosen_and_mcg_is_left_out_without_its_files(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(SCRIPTS / "reproduce_stl_tables.sh", tmp_path / "scripts")
    for name in ("bootstrap.sh", "python"):
        (tmp_path / "scripts" / name).write_text("#!/usr/bin/env bash\nprintf '%s ' \"$@\"\n")
        (tmp_path / "scripts" / name).chmod(0o755)
    (tmp_path / "bin").symlink_to(tmp_path / "scripts")
    done = subprocess.run(
        ["bash", tmp_path / "scripts" / "reproduce_stl_tables.sh", tmp_path / "out", "detector.features=warp"],
        env=os.environ | {"WSDET_VENV": str(tmp_path), "ROWS": "ground_truth-selective_search mcg-mcg", "MCG": ""},
        check=True,
        capture_output=True,
        text=True,
    )
    assert "mcg-mcg is left out: MCG=PATH must name the published boxes" in done.stderr
    assert done.stdout.count("wsdet.train") == 1
    assert "detector.protocol=stl" in done.stdout
    assert "detector.features=warp" in done.stdout


def test_the_table_stands_beside_the_paper_s(tmp_path: Path) -> None:
    for row, key, values in (
        ("stl_cl-selective_search", "pseudo", (0.2, 0.3)),
        ("ground_truth-selective_search", "ground_truth", (0.5, 0.5)),
    ):
        for seed, value in enumerate(values):
            folder = tmp_path / "rows" / row / str(seed)
            folder.mkdir(parents=True)
            (folder / "config.yaml").write_text(f"seed: {seed}\n")
            by_class = {"cat": value, "dog": 0.3}
            localization = {"precision_at": {"1": 0.5, "10": 0.2}, "recall_at": {"1": 0.4, "10": 0.6}}
            found = {"detectors": {key: {"map": value, "ap": by_class}}, "localization": {"stl_cl": localization}}
            (folder / "metrics.json").write_text(json.dumps(found))
    folder = tmp_path / "rows" / "stl_cl_no_drop-selective_search" / "0"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 0\n")
    localization = {"precision_at": {"1": 0.4, "10": 0.2}, "recall_at": {"1": 0.3, "10": 0.6}}
    (folder / "metrics.json").write_text(json.dumps({"localization": {"stl_cl_no_drop": localization}}))
    published = tmp_path / "published.json"
    figures = {"stl_cl": [0.1, 0.3], "ground_truth": [0.2, 0.3], "stl_cl_top1": [0.15]}
    published.write_text(json.dumps({"detection_average_precision_200_classes": figures}))
    command = [sys.executable, str(SCRIPTS / "print_stl_tables.py"), str(tmp_path), "3", str(published)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()]
    assert ["stl_cl", "selective_search", "0.250", "0.071", "2", "0.500", "0.200", "0.800"] in lines
    assert ["ground_truth", "selective_search", "0.500", "0.000", "2", "1.000", "0.250", "1.000"] in lines
    assert ["bing", "bing", "-", "-", "0", "-", "-", "-"] in lines
    # dog is found equally well by both, cat less well by STL-CL
    assert ["best 1", "dog 0.300", "cat 0.500"] in lines
    assert ["worst 1", "cat 0.250", "dog 0.300"] in lines
    assert "Figure 6, ours: STL-CL is better than ground truth in 0 of 2 classes." in done.stdout
    assert "Figure 6, paper: STL-CL is better than ground truth in 0 of 2 classes." in done.stdout
    assert ["precision at 1", "0.500", "0.400", "-0.200"] in lines
    assert json.loads((tmp_path / "tables.json").read_text())["top_k"] == 3
