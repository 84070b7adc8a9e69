"""A new kind of detector is a module of its own: its files are loaded without a change elsewhere."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from wsdet.detectors import loading
from wsdet.detectors.loading import kinds, load_detectors
from wsdet.types import InputError

MY_KIND = """
FORMAT = "my kind 1"

class MyDetector:
    classes = ("cat",)

def load_saved(folder, device, precision, others):
    return MyDetector()
"""


def save(folder: Path, kind: object) -> Path:
    folder.mkdir()
    (folder / "model.json").write_text(json.dumps({"format": kind}))
    return folder


def test_the_kinds_are_those_of_the_package() -> None:
    assert kinds() == {
        "wsdet R-CNN detector 1": "wsdet.detectors.rcnn.detector",
        "wsdet neural detector 1": "wsdet.detectors.neural.detector",
    }


def test_a_new_kind_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "detectors"
    package.mkdir()
    shutil.copy(loading.__file__, package)
    (package / "my_kind.py").write_text(MY_KIND)
    monkeypatch.setattr(loading, "__file__", str(package / "loading.py"))
    monkeypatch.setattr("wsdet.detectors.__path__", [str(package)])
    monkeypatch.delitem(sys.modules, "wsdet.detectors.my_kind", raising=False)
    (loaded,) = load_detectors({"a": save(tmp_path / "saved", "my kind 1")}, "cpu").values()
    assert loaded.classes == ("cat",)
    monkeypatch.delitem(sys.modules, "wsdet.detectors.my_kind")


@pytest.mark.parametrize("kind", ["os", "wsdet.detectors.loading", "", 3, None])
def test_what_no_module_says_is_refused(tmp_path: Path, kind: object) -> None:
    with pytest.raises(InputError, match="describes no detector of this version"):
        load_detectors({"a": save(tmp_path / "saved", kind)}, "cpu")
