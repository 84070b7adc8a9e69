"""BING with OpenCV's model: silent, and leaving no files."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from wsdet.boxes import iou
from wsdet.proposals.bing import Bing
from wsdet.types import InputError, Pixels, Sample


def bright_box(factor: int = 1) -> Pixels:
    pixels = np.full((100, 140, 3), 60, np.uint8)
    pixels[30:80, 40:110] = 200
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def test_finds_the_object_among_the_first(shared: Path) -> None:
    boxes = Bing(shared / "models" / "BING").propose(Sample("a", bright_box()))
    assert iou(np.array([[40, 30, 110, 80]], np.float32), boxes.xyxy[:50]).max() > 0.5


def test_boxes_of_a_large_image_are_scaled_back(shared: Path) -> None:
    boxes = Bing(shared / "models" / "BING", max_side=140).propose(Sample("a", bright_box(4)))
    assert iou(np.array([[160, 120, 440, 320]], np.float32), boxes.xyxy[:50]).max() > 0.5


def test_nothing_reaches_standard_output_even_at_exit_and_no_file_stays(shared: Path, tmp_path: Path) -> None:
    program = (
        "import numpy as np, sys\n"
        "from wsdet.proposals.bing import Bing\n"
        "from wsdet.types import Sample\n"
        "Bing(sys.argv[1]).propose(Sample('a', np.zeros((40, 40, 3), np.uint8)))\n"
        "print('done')\n"
    )
    command = [sys.executable, "-c", program, str(shared / "models" / "BING")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"TMPDIR": str(tmp_path)})
    assert done.stdout == "done\n"
    assert list(tmp_path.iterdir()) == []
    assert not list(Path("/").glob("BBoxes*"))
    assert not list(Path(tempfile.gettempdir()).glob("BBoxes*"))


def test_a_missing_model_file_is_named(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no ObjNessB2W8MAXBGR\.wS1\.yml\.gz"):
        Bing(tmp_path)
    shutil.copytree(shared / "models" / "BING", tmp_path / "model")
    (tmp_path / "model" / "ObjNessB2W8I.idx.yml.gz").unlink()
    with pytest.raises(InputError, match=r"has no ObjNessB2W8I\.idx\.yml\.gz"):
        Bing(tmp_path / "model")


def test_a_broken_model_file_is_an_error_of_input(shared: Path, tmp_path: Path) -> None:
    shutil.copytree(shared / "models" / "BING", tmp_path / "model")
    (tmp_path / "model" / "ObjNessB2W8HSV.idx.yml.gz").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"BING with the model in .* failed"):
        Bing(tmp_path / "model").propose(Sample("a", bright_box()))
