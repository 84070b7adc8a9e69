"""VOC's XML without VOC's folders: an XML file for each image, somewhere below the same root.

<root>/images/*.jpg, <root>/annotations/*.xml        labelImg
<root>/train/*.jpg, <root>/train/*.xml               Roboflow; also valid/, test/
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wsdet.data.beside import find_image, images_of, unannotated
from wsdet.data.image_files import Unlabeled
from wsdet.data.images import MAX_PIXELS
from wsdet.data.paths import existing_folder
from wsdet.data.records import Item, Record, RecordFiles
from wsdet.data.splits import split_in_path
from wsdet.data.voc_xml import given_size, parse_objects
from wsdet.storage.untrusted import read_xml
from wsdet.types import InputError


class VocFolder(RecordFiles):
    """Images and boxes in VOC's XML. Pixels count from 1 as in VOC: boxes are (x1 - 1, y1 - 1, x2, y2).

    Image ids are paths relative to `root`. An annotation is of the image of its own name, the nearest where there are
    several, or of the one that it names. Folders called as splits are splits.

    Args:
        root: the folder of images and annotations.
        test_fraction: where no folder tells the split, the share of images for the test split, in [0, 1].
        seed: where no folder tells the split, draws it.
        unlabeled: what an image without an object shows.
        max_pixels: larger images are refused.

    Raises:
        InputError: there is no image with an annotation.
    """

    def __init__(
        self,
        root: Path | str,
        test_fraction: float = 0.2,
        seed: int = 0,
        unlabeled: Unlabeled = "unknown",
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        folder = existing_folder(root, "the folder of the images and their XML files")
        super().__init__(
            root=folder,
            name=str(folder),
            records=list(_records(folder)),
            test_fraction=test_fraction,
            seed=seed,
            unlabeled=unlabeled,
            max_pixels=max_pixels,
        )


def is_voc_xml(path: Path) -> bool:
    """Whether an XML file is VOC's annotation of an image."""
    try:
        return read_xml(path).tag == "annotation"
    except InputError:
        return False


def _records(folder: Path) -> Iterator[Record]:
    annotated = []
    for path, image in images_of(folder, ".xml").items():
        where = str(folder / path)
        try:
            root = read_xml(folder / path)
            if root.tag != "annotation":
                continue
            name = image or find_image(folder, root.findtext("filename")) or path.removesuffix(".xml")
            items = tuple(Item(*found) for found in parse_objects(root, 1, where))
            record = Record(name, items, where, size_hw=given_size(root), split=split_in_path(name))
        except InputError as error:
            name = image or path.removesuffix(".xml")
            record = Record(name, (), where, split=split_in_path(name), problem=str(error))
        annotated.append(record.image)
        yield record
    for image in unannotated(folder, annotated):
        yield Record(image, (), image, has_boxes=False, split=split_in_path(image))
