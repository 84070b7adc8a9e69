"""Annotation files that come one for each image, found by the image's name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wsdet.data.locate import locate
from wsdet.data.paths import image_names


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


def unannotated(folder: Path, images: Iterable[str]) -> list[str]:
    """The images below `folder` that are not among `images`."""
    taken = set(images)
    return [image for image in image_names(folder) if image not in taken]
