"""Negatives beside the data: a folder's images, or painted ones."""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsdet.data.background import WithBackground, write_textures
from wsdet.data.folder import Folder
from wsdet.data.loading import ids_with_known_classes, is_background
from wsdet.data.synthetic.dataset import Synthetic
from wsdet.storage.fingerprints import Fingerprints
from wsdet.types import InputError


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two photos of a cat, and two of a room."""
    for name, value in (("data/cat/a.png", 10), ("data/cat/b.png", 20), ("rooms/a.png", 30), ("rooms/x/b.png", 40)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 9, 3), value, np.uint8)).save(path)
    return tmp_path


def test_a_folders_images_are_negatives_of_the_training_split(folders: Path) -> None:
    data = Folder(folders / "data", test_fraction=0.5)
    both = WithBackground(data, folders / "rooms")
    assert both.background_ids == ("background/a.png", "background/x/b.png")
    assert both.ids("train") == (*data.ids("train"), *both.background_ids)
    assert both.ids("test") == data.ids("test")
    assert both.classes == data.classes
    assert ids_with_known_classes(both, both.ids("train")) == list(both.ids("train"))
    for image_id, value in zip(both.background_ids, (30, 40), strict=True):
        sample = both.load(image_id)
        assert (sample.image_id, sample.labels, both.labels(image_id)) == (image_id, (), ())
        assert (sample.pixels == value).all()
        assert is_background(both, image_id)
        assert image_id not in both.truth
    own = data.ids("train")[0]
    assert not is_background(both, own)
    assert both.load(own).labels == data.labels(own) == (0,)


def test_its_files_are_known_and_it_travels(folders: Path) -> None:
    both = WithBackground(Folder(folders / "data"), folders / "rooms")
    copy: WithBackground = ForkingPickler.loads(bytes(ForkingPickler.dumps(both)))  # as a worker process gets it
    before = [Fingerprints(one, labels=True).digest(both.ids("train")) for one in (both, copy)]
    assert before[0] == before[1]
    Image.fromarray(np.full((8, 9, 3), 50, np.uint8)).save(folders / "rooms" / "a.png")
    assert Fingerprints(both, labels=True).digest(both.ids("train")) != before[0]


def test_images_made_on_the_spot_have_no_file_beside_background(folders: Path) -> None:
    both = WithBackground(Synthetic(n_train=2, n_test=1, size=32), folders / "rooms")
    assert not hasattr(both, "path")
    assert both.load(both.ids("train")[0]).labels
    assert both.load("background/a.png").pixels.shape == (8, 9, 3)


def test_a_folder_without_images_is_refused(folders: Path, tmp_path: Path) -> None:
    data = Folder(folders / "data")
    (tmp_path / "none").mkdir()
    for wrong in (tmp_path / "none", tmp_path / "missing"):
        with pytest.raises(InputError, match=r"background=.* must be a folder with images that show none of the"):
            WithBackground(data, wrong)


def test_textures_are_painted_once_and_show_no_animal(tmp_path: Path) -> None:
    folder = write_textures(tmp_path / "textures", seed=1, n=3)
    files = sorted(folder.iterdir())
    assert [path.name for path in files] == ["0000.png", "0001.png", "0002.png"]
    content = [path.read_bytes() for path in files]
    assert len(set(content)) == 3
    files[1].unlink()
    write_textures(folder, seed=1, n=3)
    assert [path.read_bytes() for path in files] == content
