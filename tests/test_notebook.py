"""The notebook of the documentation runs, and what is kept of its outputs is fit to be shown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).resolve().parents[1] / "docs" / "notebook" / "first_steps.ipynb"
# it is run on fewer and smaller scenes, for fewer epochs, which changes numbers and no kind of output
SMALLER = {
    "n_train=120, n_test=40": "n_train=18, n_test=9, size=64",
    '"network.training.epochs": 30': '"network.training.epochs": 2, "network.input_size": 64, "verdict": 0',
}


def kinds(cells: list[Any]) -> list[list[str]]:
    """What each code cell shows, but for progress bars: types of outputs, in alphabetical order as files keep them."""
    return [
        [
            kind
            for one in cell["outputs"]
            if one.get("name") != "stderr"
            for kind in sorted(one.get("data", {"text/plain": ""}))
        ]
        for cell in cells
        if cell["cell_type"] == "code"
    ]


def test_what_is_kept_has_pictures_and_no_place_of_a_machine() -> None:
    text = PATH.read_text(encoding="utf-8")
    cells = json.loads(text)["cells"]
    assert sum("image/png" in of_cell for of_cell in kinds(cells)) == 3
    assert not any(one.get("name") == "stderr" for cell in cells for one in cell.get("outputs", []))
    said = [json.dumps({**one, "data": {}}) for cell in cells for one in cell.get("outputs", [])]
    assert not re.search(r"/(tmp|home|root|work|Users|var)\b", "".join(said))
    assert len(text) < 1_500_000


@pytest.mark.slow
def test_it_runs_and_shows_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(PATH.parents[2]))
    notebook = nbformat.read(PATH, as_version=4)
    kept = kinds(notebook["cells"])
    for written, run in SMALLER.items():
        (cell,) = (cell for cell in notebook["cells"] if written in cell["source"])
        cell["source"] = cell["source"].replace(written, run)
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute(cwd=str(tmp_path))
    assert kinds(notebook["cells"]) == kept
