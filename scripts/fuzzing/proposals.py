"""Files of published proposals."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fuzzing.case import Case, writer


def cases() -> Sequence[Case]:
    """One for each kind of file."""
    files: dict[str, bytes] = {
        "of_image.json": b'{"1": [[1, 2, 3, 4]]}',
        "rows.json": b'[{"image_id": 1, "bbox": [1, 2, 3, 4]}]',
        "boxes.npz": _npz(),
        "plain.mat": _mat(compressed=False),
        "compressed.mat": _mat(compressed=True),
    }
    return [Case(name.replace(".", "_"), writer({name: content}), _reader) for name, content in files.items()]


def _reader(folder: Path) -> Callable[[], object]:
    from wsdet.proposals.files import Files
    from wsdet.types import Sample

    sample = Sample("1", np.zeros((10, 20, 3), np.uint8))
    (path,) = folder.iterdir()
    conventions = {} if path.name == "rows.json" else {"order": "xyxy", "counting": "from_1"}
    return lambda: Files(path, **conventions).propose(sample)


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, **{"1": np.array([[1, 2, 3, 4, 0.5]])})
    return file.getvalue()


def _mat(compressed: bool) -> bytes:
    import scipy.io

    boxes, images = np.empty((1, 1), object), np.empty((1, 1), object)
    boxes[0, 0], images[0, 0] = np.array([[1.0, 2, 3, 4]]), "1"
    file = io.BytesIO()
    scipy.io.savemat(file, {"boxes": boxes, "images": images}, do_compression=compressed)
    return file.getvalue()
