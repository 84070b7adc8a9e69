"""What every reader promises, whatever its layout. A reader is found by its file in conf/data."""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsdet.types import InputError

READERS = sorted(
    path.stem
    for path in (Path(__file__).resolve().parents[2] / "conf" / "data").glob("*.yaml")
    if "root:" in path.read_text()
)


@pytest.fixture(params=READERS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def dataset(layout: str, files: Any) -> Any:
    return files.open(layout, **files.layouts[layout]())


def all_ids(dataset: Any) -> list[str]:
    return [*dataset.ids("train"), *dataset.ids("test")]


def test_every_reader_has_a_layout_here(files: Any) -> None:
    assert sorted(files.layouts) == READERS


def test_there_are_images_in_both_splits_and_none_is_in_both(dataset: Any) -> None:
    assert dataset.ids("train")
    assert dataset.ids("test")
    assert len(set(all_ids(dataset))) == len(all_ids(dataset))


def test_ids_are_relative_paths(dataset: Any) -> None:
    for image_id in all_ids(dataset):
        path = Path(image_id)
        assert str(path) == image_id
        assert not path.is_absolute()
        assert ".." not in path.parts


def test_a_second_look_finds_the_same(layout: str, files: Any, dataset: Any) -> None:
    again = files.open(layout, **files.layouts[layout]())
    assert all_ids(again) == all_ids(dataset)
    assert again.classes == dataset.classes
    assert [again.labels(i) for i in all_ids(again)] == [dataset.labels(i) for i in all_ids(dataset)]


def test_another_process_may_have_it(dataset: Any) -> None:
    sent = ForkingPickler.loads(ForkingPickler.dumps(dataset))
    assert all_ids(sent) == all_ids(dataset)
    assert {i: boxes.xyxy.tolist() for i, boxes in sent.truth.items()} == {
        i: boxes.xyxy.tolist() for i, boxes in dataset.truth.items()
    }
    assert all((sent.load(i).pixels == dataset.load(i).pixels).all() for i in all_ids(dataset))


def test_classes_are_unique_names(dataset: Any) -> None:
    assert isinstance(dataset.classes, tuple)
    assert len(set(dataset.classes)) == len(dataset.classes) >= 2
    assert all(isinstance(name, str) and name for name in dataset.classes)


def test_labels_are_sorted_indices_into_classes(dataset: Any) -> None:
    for image_id in all_ids(dataset):
        labels = dataset.labels(image_id)
        assert isinstance(labels, tuple)
        assert labels == tuple(sorted(set(labels)))
        assert all(type(label) is int and 0 <= label < len(dataset.classes) for label in labels)


def test_labels_need_no_pixels(dataset: Any) -> None:
    before = [dataset.labels(image_id) for image_id in all_ids(dataset)]
    for image_id in all_ids(dataset):
        dataset.path(image_id).write_bytes(b"")
    assert [dataset.labels(image_id) for image_id in all_ids(dataset)] == before


def test_a_sample_is_the_image_and_its_labels(dataset: Any) -> None:
    for image_id in all_ids(dataset):
        sample = dataset.load(image_id)
        assert sample.image_id == image_id
        assert sample.labels == dataset.labels(image_id)
        assert sample.pixels.std() > 0


def test_true_boxes_lie_in_their_images_and_have_a_class(dataset: Any) -> None:
    assert set(dataset.truth) <= set(all_ids(dataset))
    assert len(dataset.truth) == len(list(dataset.truth))
    for image_id, boxes in dataset.truth.items():
        h, w = dataset.load(image_id).size_hw
        assert (boxes.xyxy >= 0).all()
        assert (boxes.xyxy <= [w, h, w, h]).all()
        assert (boxes.xyxy[:, 2:] > boxes.xyxy[:, :2]).all()
        assert set(boxes.labels[~boxes.difficult].tolist()) <= set(dataset.labels(image_id))


def test_asking_whether_there_is_truth_reads_nothing(dataset: Any) -> None:
    for image_id in all_ids(dataset):
        dataset.path(image_id).unlink()
    assert sum(image_id in dataset.truth for image_id in all_ids(dataset)) == len(dataset.truth)


def test_an_unknown_image_is_a_key_error(dataset: Any) -> None:
    for read in (dataset.labels, dataset.load, dataset.path, dataset.truth.__getitem__):
        with pytest.raises(KeyError):
            read("../nowhere")
    assert "../nowhere" not in dataset.truth


def test_an_unknown_split_is_a_value_error(dataset: Any) -> None:
    with pytest.raises(ValueError, match="split must be train or test"):
        dataset.ids("val")


@pytest.mark.parametrize("content", [b"", b"not an image", None], ids=["empty", "text", "missing"])
def test_one_bad_image_costs_itself_and_names_its_file(dataset: Any, content: bytes | None) -> None:
    bad, *others = dataset.ids("train")
    path = dataset.path(bad)
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        dataset.load(bad)
    assert repr(str(path)) in str(caught.value)
    assert all(np.any(dataset.load(image_id).pixels) for image_id in others)


def test_a_missing_root_says_what_it_should_be(layout: str, files: Any, tmp_path: Path) -> None:
    files.root = tmp_path / "nowhere"
    with pytest.raises(InputError, match=r"data\.root=.*does not exist; it must be"):
        files.open(layout)


def test_an_empty_root_is_an_input_error(layout: str, files: Any) -> None:
    with pytest.raises(InputError):
        files.open(layout)


def test_the_limit_on_pixels_is_an_argument(layout: str, files: Any) -> None:
    dataset = files.open(layout, max_pixels=50, **files.layouts[layout]())
    with pytest.raises(InputError, match="at most 50"):
        dataset.load(dataset.ids("train")[0])
