"""Sensitivity maps of many images, computed once and kept on disk.

A folder holds `settings.json`, what the maps depend on, and `parts/*.safetensors`, some hundred maps to a file in
half precision. A part is named by the maps in it and moved into place whole, so a run that was killed loses no more
than the part it was at; a damaged part is made anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wsdet.data.loading import load_samples
from wsdet.engine import Answerer, localize_all
from wsdet.linear_models.box_regressor import Channels, sensitivity_map
from wsdet.progress import Bar
from wsdet.questions import Note, PixelGradient, Question
from wsdet.storage import tensors
from wsdet.storage.provenance import check_settings
from wsdet.types import Boxes, Dataset, InputError, Sample

log = logging.getLogger(__name__)

Halves = npt.NDArray[np.float16]
Pair = tuple[str, int]  # image id, label

_FORMAT = "wsdet sensitivity maps 2"
_PART_SIZE = 256  # maps


class SensitivityMaps:
    """The map of each image and label of it, in a folder.

    Args:
        folder: made when it is not there.
        settings: what the maps depend on besides the next two, as plain JSON values: the data, the network.
        channels: see `sensitivity_map`.
        side: see `sensitivity_map`; here no more than the side of the network's input.

    Raises:
        InputError: the folder's maps were made with other settings.
    """

    def __init__(self, folder: Path | str, settings: Mapping[str, Any], channels: Channels, side: int) -> None:
        self.folder = Path(folder)
        self.channels: Channels = channels
        self.side = side
        check_settings(self.folder, {**settings, "channels": channels, "side": side})
        self._where: dict[Pair, tuple[Path, int]] = {}
        self._sizes_hw: dict[str, tuple[int, int]] = {}
        for path in sorted((self.folder / "parts").glob("*.safetensors")):
            try:
                self._add(path, _entries_of(path, side))
            except (ValueError, TypeError, KeyError) as error:
                log.warning("%s cannot be read and is made anew: %s", path, error)
                path.unlink()

    def __contains__(self, pair: Pair) -> bool:
        return pair in self._where

    def fill(
        self, dataset: Dataset, ids: Sequence[str], network: Answerer, batch_size: int = 32, in_flight: int = 16
    ) -> None:
        """Computes the maps of those of `ids` that are not there yet, one for each label of the image.

        An image that cannot be read is left out; the log says why.
        """
        missing = [i for i in ids if any((i, label) not in self for label in dataset.labels(i))]
        if not missing:
            return
        log.info("sensitivity maps: %d images to do, %d there already", len(missing), len(ids) - len(missing))
        done: dict[_Entry, Halves] = {}
        for maps in self._computed(dataset, missing, network, batch_size, in_flight):
            done |= maps
            if len(done) >= _PART_SIZE:
                self._write(done)
                done = {}
        if done:
            self._write(done)

    def size_hw(self, pair: Pair) -> tuple[int, int]:
        """Height and width of the original image of a pair that is there, in pixels."""
        return self._sizes_hw[pair[0]]

    def rows(self, pairs: Sequence[Pair]) -> Halves:
        """(n, side, side) float16 maps of pairs that are there; n x side x side x 2 bytes of memory."""
        found = np.empty((len(pairs), self.side, self.side), np.float16)
        wanted: dict[Path, list[int]] = {}
        for index, pair in enumerate(pairs):
            wanted.setdefault(self._where[pair][0], []).append(index)
        for path, indices in wanted.items():
            maps = tensors.load(path, _FORMAT)[0]["maps"]
            found[indices] = maps[[self._where[pairs[index]][1] for index in indices]]
        return found

    def _computed(
        self, dataset: Dataset, ids: Sequence[str], network: Answerer, batch_size: int, in_flight: int
    ) -> Iterator[dict[_Entry, Halves]]:
        """The maps of each image that can be read."""
        seen: dict[str, dict[_Entry, Halves]] = {}

        def keep(image_id: str, note: Note) -> None:
            label, size_hw, gradient = note.value
            made = sensitivity_map(gradient, self.channels, self.side).astype(np.float16)
            seen.setdefault(image_id, {})[_Entry(image_id, label, *size_hw)] = made

        outcomes = localize_all(
            load_samples(dataset, ids), _GradientOfEachLabel(), network, batch_size, in_flight, look_on=keep
        )
        for image_id, outcome in Bar(outcomes, "sensitivity maps", len(ids), unit="image", smoothing=0.1):
            if isinstance(outcome, InputError):
                log.warning("%s: %s", image_id, outcome)
            else:
                yield seen.pop(image_id, {})

    def _write(self, maps: Mapping[_Entry, Halves]) -> None:
        named = json.dumps(list(maps))
        path = self.folder / "parts" / f"{hashlib.sha256(named.encode()).hexdigest()[:16]}.safetensors"
        tensors.save(path, {"maps": np.stack(list(maps.values()))}, {"format": _FORMAT, "entries": list(maps)})
        self._add(path, list(maps))

    def _add(self, path: Path, entries: Sequence[_Entry]) -> None:
        for row, (image_id, label, h, w) in enumerate(entries):
            self._where[image_id, label] = path, row
            self._sizes_hw[image_id] = h, w


class _Entry(NamedTuple):
    """What a part says of each of its maps."""

    image_id: str
    label: int
    h: int
    w: int


class _GradientOfEachLabel:
    """Asks what the maps are made of; finds no boxes."""

    def localize(self, sample: Sample) -> Generator[Sequence[Question], Sequence[Any], Boxes]:
        gradients = yield [PixelGradient(label) for label in sample.labels]
        yield [
            Note("gradient", (label, sample.size_hw, gradient))
            for label, gradient in zip(sample.labels, gradients, strict=True)
        ]
        return Boxes.empty()


def _entries_of(path: Path, side: int) -> list[_Entry]:
    header, described = tensors.describe(path, _FORMAT)
    entries = [_Entry(str(i), int(label), int(h), int(w)) for i, label, h, w in header["entries"]]
    if described["maps"] != ("F16", (len(entries), side, side)):
        raise ValueError(f"its maps are {described['maps']}")
    if any(h < 1 or w < 1 for *_, h, w in entries):
        raise ValueError("an image has no size")
    return entries
