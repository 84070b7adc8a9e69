"""ImageNet (ILSVRC CLS-LOC), in the layout in which it is handed out.

<root>/Data/CLS-LOC/train/<wnid>/*.JPEG      <root>/Annotations/CLS-LOC/train/<wnid>/*.xml
<root>/Data/CLS-LOC/val/*.JPEG               <root>/Annotations/CLS-LOC/val/*.xml
<root>/LOC_synset_mapping.txt, or beside <root>
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from wsdet.data.annotations import Checked, boxes_in_image, class_indices
from wsdet.data.image_files import ImageFiles, Truth
from wsdet.data.images import MAX_PIXELS
from wsdet.data.paths import existing_folder, image_names
from wsdet.data.voc_xml import read_labels, read_objects
from wsdet.data.wordnet import class_names
from wsdet.progress import Bar
from wsdet.types import InputError

_IMAGES, _ANNOTATIONS = "Data/CLS-LOC", "Annotations/CLS-LOC"
_WORDS = "LOC_synset_mapping.txt"


class ImageNet(ImageFiles):
    """ImageNet's training images, of which about half have boxes, and its validation images as the test split.

    Image ids are paths relative to Data/CLS-LOC. A training image's label is its folder; a validation image's is its
    annotation's, or its folder where validation images were sorted into such. ILSVRC's corners are continuous: they
    run from 0 to the image's width and height.

    Args:
        root: the ILSVRC folder, with Data/CLS-LOC.
        wnids: the classes to read, by WordNet id, in the order of the labels; None: all, sorted.
        max_pixels: larger images are refused.

    Attributes:
        wnids: WordNet ids in the order of `classes`.

    Raises:
        InputError: a folder is missing, or a validation image has neither an annotation nor a folder of its class.
    """

    def __init__(self, root: Path | str, wnids: Sequence[str] | None = None, max_pixels: int = MAX_PIXELS) -> None:
        folder = existing_folder(root, f"the ILSVRC folder, with {_IMAGES}")
        images, annotations = folder / _IMAGES, folder / _ANNOTATIONS
        here = _class_folders(images / "train")
        self.wnids = tuple(here if wnids is None else wnids)
        indices = class_indices(self.wnids)
        missing = [wnid for wnid in self.wnids if wnid not in here]
        if missing:
            raise InputError(f"{images / 'train'} has no folder {missing[0]!r}; data.wnids must name folders in it")
        train: dict[str, tuple[int, ...]] = {}
        for wnid, label in indices.items():
            ids = [f"train/{wnid}/{name}" for name in image_names(images / "train" / wnid)]
            train |= dict.fromkeys(ids, (label,))
        test = _read_val(images, annotations, class_indices(here), indices)
        annotated = _xml_files(annotations, ["val", *(f"train/{wnid}" for wnid in self.wnids)])
        boxed = [image_id for image_id in [*train, *test] if _xml_of(image_id) in annotated]
        super().__init__(
            name=str(folder),
            classes=class_names(_words(folder), self.wnids),
            train=train,
            test=test,
            path_of=images.joinpath,
            labels=train | test,
            truth=Truth(boxed, partial(_read_truth, images, annotations, indices, max_pixels)),
            max_pixels=max_pixels,
        )


def _class_folders(train: Path) -> list[str]:
    if not train.is_dir():
        raise InputError(f"{train} is not a folder; data.root must be the ILSVRC folder, with {_IMAGES}/train/<wnid>")
    return sorted(path.name for path in train.iterdir() if path.is_dir())


def _read_val(
    images: Path, annotations: Path, known: Mapping[str, int], wanted: Mapping[str, int]
) -> dict[str, tuple[int, ...]]:
    """Labels of the validation images of the classes `wanted`; `known` are all classes there are."""
    names = image_names(images / "val")
    wnids = list(known)
    labels = {}
    for name in Bar(names, desc="labels of validation images", unit="image", delay=1, leave=False):
        parts = PurePosixPath(name).parts
        if len(parts) > 1:
            of_image = {parts[0]}
        else:
            of_image = {wnids[i] for i in read_labels(annotations / _xml_of(f"val/{name}"), known)}
        if not of_image.isdisjoint(wanted):
            labels[f"val/{name}"] = tuple(wanted[wnid] for wnid in of_image if wnid in wanted)
    return labels


def _xml_files(annotations: Path, folders: Sequence[str]) -> set[str]:
    return {f"{name}/{path.name}" for name in folders for path in (annotations / name).glob("*.xml")}


def _xml_of(image_id: str) -> str:
    """The image's annotation; those of validation images lie side by side even where the images are in folders."""
    path = PurePosixPath(image_id)
    folder = "val" if path.parts[0] == "val" else path.parent
    return f"{folder}/{path.stem}.xml"


def _words(folder: Path) -> Path:
    beside = folder.parent / _WORDS
    return beside if beside.exists() else folder / _WORDS


def _read_truth(images: Path, annotations: Path, indices: Mapping[str, int], max_pixels: int, image_id: str) -> Checked:
    path = annotations / _xml_of(image_id)
    objects, _ = read_objects(path, indices, first_pixel=0)
    return boxes_in_image(objects, images / image_id, str(path), max_pixels)
