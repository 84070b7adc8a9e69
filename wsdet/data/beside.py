"""`AnnotatedFolder`: images with one annotation file each, found by the image's name or by what the file says."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from wsdet.data.image_files import Unlabeled
from wsdet.data.images import MAX_PIXELS
from wsdet.data.locate import locate
from wsdet.data.paths import existing_folder, image_names
from wsdet.data.records import Record, RecordFiles
from wsdet.data.splits import split_in_path
from wsdet.types import InputError


class AnnotatedFolder(RecordFiles):
    """A folder of images and of one annotation file for each, somewhere below it.

    Image ids are paths relative to `root`. An annotation is of the image of its own name, the nearest where there are
    several, or of the one that it names. Folders called as splits are splits.

    Args:
        root: the folder of images and annotations.
        test_fraction: where no folder tells the split, the share of images for the test split, in [0, 1].
        seed: where no folder tells the split, draws it.
        unlabeled: what an image without an annotated object shows.
        max_pixels: larger images are refused.

    Raises:
        InputError: there is no image with an annotation.
    """

    suffix: ClassVar[str]  # of the annotation files: ".xml"

    def __init__(
        self,
        root: Path | str,
        test_fraction: float = 0.2,
        seed: int = 0,
        unlabeled: Unlabeled = "unknown",
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        folder = existing_folder(root, f"the folder of the images and their {self.suffix[1:].upper()} files")
        super().__init__(
            root=folder,
            name=str(folder),
            records=list(self._records(folder)),
            test_fraction=test_fraction,
            seed=seed,
            unlabeled=unlabeled,
            max_pixels=max_pixels,
        )

    @abstractmethod
    def read(self, folder: Path, name: str, image: str | None) -> Record | None:
        """What a file says.

        Args:
            folder: the root.
            name: the annotation file, relative to it; without its suffix it stands for an image that is not there.
            image: the image of the file's name, if there is one.

        Returns:
            None of a file that is no annotation of an image.

        Raises:
            InputError: it cannot be used; the image, if there is one, is then known to have a bad annotation.
        """

    def _records(self, folder: Path) -> Iterator[Record]:
        annotated = set()
        for name, image in images_of(folder, self.suffix).items():
            try:
                record = self.read(folder, name, image)
            except InputError as error:
                record = problem(image, folder / name, error) if image else None
            if record is not None:
                annotated.add(record.image)
                yield record
        for image in image_names(folder):
            if image not in annotated:
                yield Record(image, (), image, has_boxes=False, split=split_in_path(image))


def problem(image: str, path: Path, error: InputError) -> Record:
    """An image whose annotation cannot be used."""
    return Record(image, (), str(path), split=split_in_path(image), problem=str(error))


def annotation_files(folder: Path, suffix: str) -> list[str]:
    """Sorted relative paths of the files with a suffix anywhere below `folder`, hidden ones left out."""
    paths = (path.relative_to(folder) for path in folder.rglob(f"*{suffix}"))
    return sorted(path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))


def images_of(folder: Path, suffix: str) -> dict[str, str | None]:
    """The image of each annotation file with a suffix, by their common name; None where there is none or several."""
    files = annotation_files(folder, suffix)
    stems = {file: file.removesuffix(suffix) for file in files}
    images = locate(folder, stems.values())
    return {file: images[stem] for file, stem in stems.items()}


def find_image(folder: Path, name: Any) -> str | None:
    """The image that an annotation file names; None where it names none that is there."""
    return locate(folder, [name])[name] if isinstance(name, str) and name.strip() else None
