"""Published boxes: each format gives the same boxes, and hostile files give one clear message."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from wsdet.proposals import box_files
from wsdet.proposals.files import Files
from wsdet.storage.box_store import BoxStore
from wsdet.types import Boxes, InputError, Sample

# two boxes of an image of 200 x 100 pixels, the second better, continuous; and the scores
XYXY = np.array([[0, 0, 50, 40], [20, 10, 200, 100]], np.float64)
SCORES = np.array([0.25, 0.75])
SAMPLE = Sample("000007", np.zeros((100, 200, 3), np.uint8))
XYWH = np.column_stack([XYXY[:, :2], XYXY[:, 2:] - XYXY[:, :2]])
ONE = np.array([1, 1, 0, 0])
MATLAB = XYXY + ONE  # pixels counted from 1, the last one inside
SECOND_FIRST = XYXY[::-1].tolist()


def cells(*arrays: Any) -> np.ndarray:
    """A MATLAB cell array."""
    cell = np.empty((1, len(arrays)), object)
    cell[0] = [*arrays]
    return cell


def savez(path: Path, arrays: dict[str, Any]) -> None:
    """np.savez, whose signature mistakes names for its own arguments."""
    np.savez(path, **arrays)


def found(path: Path, sample: Sample = SAMPLE, **arguments: Any) -> Boxes:
    return Files(path, **arguments).propose(sample)


def test_mat_cells_of_selective_search_are_y1_x1_y2_x2_from_1_in_order(tmp_path: Path) -> None:
    path = tmp_path / "voc.mat"
    other = np.zeros((0, 4))
    scipy.io.savemat(path, {"boxes": cells(other, MATLAB[:, [1, 0, 3, 2]]), "images": cells("000001", "000007")})
    boxes = found(path, order="yxyx", counting="from_1")
    assert boxes.xyxy.tolist() == XYXY.tolist()
    assert boxes.scores[0] > boxes.scores[1]
    assert len(found(path, Sample("000001", SAMPLE.pixels), order="yxyx", counting="from_1")) == 0


def test_mat_cells_of_edge_boxes_are_x_y_w_h_score_with_the_ids_in_a_text_file(tmp_path: Path) -> None:
    path, ids = tmp_path / "bbs.mat", tmp_path / "test.txt"
    scipy.io.savemat(path, {"bbs": cells(np.column_stack([XYWH + ONE, SCORES]))})
    ids.write_text("000007\n")
    boxes = found(path, order="xywh", counting="from_1", variable="bbs", ids=ids)
    assert boxes.xyxy.tolist() == SECOND_FIRST
    assert boxes.scores.tolist() == [0.75, 0.25]


def test_a_folder_of_mat_files_as_mcg_has_scores_beside(tmp_path: Path) -> None:
    content = {"boxes": MATLAB[:, [1, 0, 3, 2]].astype(np.uint16), "scores": SCORES[:, None]}
    scipy.io.savemat(tmp_path / "000007.mat", content)
    boxes = found(tmp_path, order="yxyx", counting="from_1")
    assert (boxes.xyxy.tolist(), boxes.scores.tolist()) == (SECOND_FIRST, [0.75, 0.25])


def test_npz(tmp_path: Path) -> None:
    savez(tmp_path / "a.npz", {"000007": np.column_stack([XYXY, SCORES])})
    assert found(tmp_path / "a.npz").xyxy.tolist() == SECOND_FIRST


def test_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"000007": (XYXY - ONE[::-1]).tolist(), "000008": []}))
    assert found(tmp_path / "a.json", counting="from_0").xyxy.tolist() == XYXY.tolist()
    assert len(found(tmp_path / "a.json", Sample("000008", SAMPLE.pixels))) == 0


@pytest.mark.parametrize("with_ids", [False, True], ids=["numbers", "file names"])
def test_coco_results(tmp_path: Path, with_ids: bool) -> None:
    results = [
        {"image_id": 7, "category_id": 1, "bbox": b, "score": s} for b, s in zip(XYWH.tolist(), SCORES, strict=True)
    ]
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "ids.json").write_text(json.dumps({"images": [{"id": 7, "file_name": "000007.jpg"}]}))
    sample = Sample("val2017/000007.jpg", SAMPLE.pixels)
    boxes = found(tmp_path / "results.json", sample, ids=tmp_path / "ids.json" if with_ids else None)
    assert (boxes.xyxy.tolist(), boxes.scores.tolist()) == (SECOND_FIRST, [0.75, 0.25])


def test_yolo(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    center = np.column_stack([(XYXY[:, :2] + XYXY[:, 2:]) / 2, XYXY[:, 2:] - XYXY[:, :2]]) / [200, 100, 200, 100]
    lines = [f"3 {x} {y} {w} {h} {s}" for (x, y, w, h), s in zip(center.tolist(), SCORES, strict=True)]
    (tmp_path / "cat" / "1.txt").write_text("\n".join(lines))
    boxes = found(tmp_path, Sample("cat/1.jpg", SAMPLE.pixels))
    np.testing.assert_allclose(boxes.xyxy, SECOND_FIRST, atol=1e-4)
    assert boxes.labels.tolist() == [-1, -1]


def test_a_store_of_an_earlier_run_loses_its_labels(tmp_path: Path) -> None:
    kept = Boxes(XYXY.astype(np.float32), np.array([2, 1], np.float32), labels=np.array([4, 4]))
    BoxStore(tmp_path, {}).fill(["000007"], lambda ids: [(ids[0], kept)], "test")
    boxes = found(tmp_path)
    assert (boxes.xyxy.tolist(), boxes.labels.tolist()) == (XYXY.tolist(), [-1, -1])


def test_repeats_and_empty_boxes_go_and_max_boxes_cuts(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"000007": [*XYXY.tolist(), *XYXY.tolist(), [5, 5, 5, 9]]}))
    assert len(found(tmp_path / "a.json")) == 2
    assert len(found(tmp_path / "a.json", max_boxes=1)) == 1


def test_the_wrong_order_is_noticed(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "000007.mat", {"boxes": MATLAB})
    with pytest.raises(InputError, match="stands out of the image of 200 x 100 pixels; check order and counting"):
        found(tmp_path, order="yxyx", counting="from_1")


def test_mat_demands_order_and_counting(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "000007.mat", {"boxes": MATLAB})
    with pytest.raises(InputError, match=r"so say proposals\.order=xyxy\|yxyx\|xywh"):
        found(tmp_path, order="yxyx")


def test_coco_fixes_order_and_counting(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(InputError, match="which fixes order and counting"):
        found(tmp_path / "a.json", order="xywh")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0, 0, 1]], "rows of 4 or 5 numbers"),
        ([[0, 0, 1, 1], [0]], "rows of 4 or 5 numbers"),
        ([0, 0, 1, 1], "rows of 4 or 5 numbers"),
        ([["0", "0", "1", "1"]], "rows of 4 or 5 numbers"),
        ({"a": 1}, "rows of 4 or 5 numbers"),
        ([[0, 0, float("nan"), 1]], "is not finite"),
        ([[0, 0, 1e300, 1]], "stands out of the image"),
        ([[0, 0, 1, 1, float("nan")]], "a score is not finite"),
        ([[0, 0, 1, 1, 1e300]], "a score is not finite as float32"),
        ([[9, 9, 1, 1]], "is inverted"),
        ([[0, 0, 900, 1]], "stands out of the image"),
    ],
    ids=str,
)
def test_bad_rows_cost_their_image_alone(tmp_path: Path, rows: Any, message: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"000007": rows, "good": XYXY.tolist()}))
    source = Files(tmp_path / "a.json")
    with pytest.raises(InputError, match=message):
        source.propose(SAMPLE)
    assert len(source.propose(Sample("good", SAMPLE.pixels))) == 2


@pytest.mark.parametrize(
    "result",
    [7, {}, {"image_id": 7}, {"image_id": 7, "bbox": [1, 2]}, {"image_id": 7, "bbox": 3}, {"image_id": [], "bbox": []}],
    ids=str,
)
def test_bad_coco_results_are_named(tmp_path: Path, result: Any) -> None:
    (tmp_path / "a.json").write_text(json.dumps([result]))
    with pytest.raises(InputError, match="result 0 must have a known image_id and a bbox"):
        Files(tmp_path / "a.json")


@pytest.mark.parametrize("name", ["a.mat", "a.npz", "a.json"])
@pytest.mark.parametrize("content", [b"", b"\0" * 500, b"PK\x03\x04broken", b"MATLAB 5.0 MAT-file" + b"\xff" * 300])
def test_files_that_are_not_what_they_say(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        Files(tmp_path / name, order="xyxy", counting="from_1")


def test_an_archive_of_a_zip_version_to_come(tmp_path: Path) -> None:  # found by scripts/fuzz.py
    content = base64.b64decode(
        "UEsDBCAgICAgICAgIAoAAAAAAADwPwAAAAAAAABAAAAAAAAACEAAAAAAAAAQQAAAAAAAAOA/UEsBAi0D0////wAAAAAhAG9E+0+oAAAAqAAA"
        "AAUAAAAAAAAAAAAAAIABAAAAADEubnB5UEsFBgAAAAABAAEAMwAAAAAAAAAAAA=="
    )
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz is not an \.npz archive that can be read: zip file version"):
        Files(tmp_path / "a.npz", order="xyxy", counting="from_1")


def test_a_truncated_mat_is_an_error_of_input(tmp_path: Path) -> None:
    path = tmp_path / "voc.mat"
    scipy.io.savemat(path, {"boxes": cells(MATLAB), "images": cells("000007")}, do_compression=True)
    whole = path.read_bytes()
    for end in range(10, len(whole), 17):
        path.write_bytes(whole[:end])
        with pytest.raises(InputError, match=r"voc\.mat"):
            Files(path, order="xyxy", counting="from_1")


def test_a_mat_without_the_variable_says_what_it_has(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"candidates": cells(MATLAB)})
    with pytest.raises(InputError, match="no variable 'boxes'; it has candidates"):
        Files(tmp_path / "a.mat", order="xyxy", counting="from_1")


def test_cells_and_ids_must_match(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"boxes": cells(MATLAB, MATLAB)})
    (tmp_path / "ids.txt").write_text("1\n2\n3\n")
    with pytest.raises(InputError, match="2 cells for 3 image ids"):
        Files(tmp_path / "a.mat", order="xyxy", counting="from_1", ids=tmp_path / "ids.txt")
    with pytest.raises(InputError, match="give ids=FILE"):
        Files(tmp_path / "a.mat", order="xyxy", counting="from_1")


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    savez(tmp_path / "a.npz", {"000007": np.array([{"a": 1}], object)})
    with pytest.raises(InputError, match=r"000007.*cannot be read"):
        found(tmp_path / "a.npz")


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box_files, "_MAX_BYTES", 10**6)
    np.savez_compressed(tmp_path / "a.npz", huge=np.zeros((10**5, 4)))
    with pytest.raises(InputError, match=r"'huge' takes \d+ bytes; at most"):
        found(tmp_path / "a.npz", Sample("huge", SAMPLE.pixels))


@pytest.mark.parametrize("image_id", ["../secret", "/etc/passwd", ""])
def test_image_ids_do_not_leave_the_folder(tmp_path: Path, image_id: str) -> None:
    (tmp_path / "secret.txt").write_text("0 0.5 0.5 1 1")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="stays inside the folder"):
        found(tmp_path / "folder", Sample(image_id, SAMPLE.pixels))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        Files(tmp_path / "nothing.mat")
    (tmp_path / "a.csv").touch()
    with pytest.raises(InputError, match=r"must be a \.mat, \.npz or \.json file, or a folder"):
        Files(tmp_path / "a.csv")
    with pytest.raises(InputError, match=r"no \.mat or \.txt file for image '000007'"):
        found(tmp_path)
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(InputError, match="no boxes for image '000007'"):
        found(tmp_path / "a.json")


@pytest.mark.parametrize(("argument", "value"), [("order", "yx"), ("counting", "1"), ("max_boxes", -1)])
def test_arguments_are_checked(tmp_path: Path, argument: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be"):
        Files(tmp_path, **{argument: value})
