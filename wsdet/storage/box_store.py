"""`BoxStore`: a mapping image id -> `Boxes` on disk. Re-running is resuming; nothing finished is lost.

A store is a folder:

    settings.json     what the boxes depend on; opening it with other settings refuses
    parts/*.parquet   finished images, `part_size` to a file, one row an image with list columns
    pending/*.parquet finished images of the part under way, one file an image
    failed.json       images that could not be done, with the reason; tried again on the next run

Every file is moved into place whole, and which image goes to which part depends on the order of the ids alone, so a
run that was killed and resumed leaves the same bytes as one that was not.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from wsdet.storage.files import replacing, write_json
from wsdet.storage.provenance import claim, read_settings
from wsdet.storage.untrusted import read_object
from wsdet.types import Boxes, InputError

log = logging.getLogger(__name__)

Outcome = tuple[str, Boxes | InputError]

_COLUMNS = {
    "x1": pa.float32(),
    "y1": pa.float32(),
    "x2": pa.float32(),
    "y2": pa.float32(),
    "score": pa.float32(),
    "label": pa.int64(),
    "difficult": pa.bool_(),
}
_SCHEMA = pa.schema([("image_id", pa.string()), *((name, pa.list_(dtype)) for name, dtype in _COLUMNS.items())])
_CACHED_PARTS = 8


@dataclass(frozen=True)
class FillReport:
    """What one call of `BoxStore.fill` did.

    Attributes:
        done: images finished by this call.
        kept: images that were finished before.
        failed: reason by image id.
        seconds: wall-clock time of this call.
    """

    done: int
    kept: int
    failed: dict[str, str]
    seconds: float


class BoxStore(Mapping[str, Boxes]):
    """Boxes by image id, in a folder.

    Args:
        folder: an existing store, or, with `settings`, a folder to make.
        settings: what the boxes depend on, as plain JSON values. None opens for reading whatever is there.
        part_size: images to a Parquet file.

    Raises:
        InputError: there is no store in `folder` and no settings were given; or the store was made with other
            settings (the message names the first that differs); or a file of it cannot be read.
    """

    def __init__(self, folder: Path | str, settings: Mapping[str, Any] | None = None, part_size: int = 64) -> None:
        self.folder = Path(folder)
        self.part_size = part_size
        self._parts: list[Path] = []
        self._where: dict[str, tuple[int, int]] = {}  # image id -> (part, row)
        self._cache: OrderedDict[int, list[Boxes]] = OrderedDict()
        if settings is not None:
            claim(self.folder, settings)
        elif not (self.folder / "settings.json").exists():
            raise InputError(f"{self.folder} is not a box store: it has no settings.json")
        for path in sorted((self.folder / "parts").glob("*.parquet")):
            self._add_part(path)
        self._pending = self._read_pending()

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the store was made with."""
        return read_settings(self.folder)

    @property
    def failed(self) -> dict[str, str]:
        """Images that could not be done, with the reason."""
        path = self.folder / "failed.json"
        return read_object(path) if path.exists() else {}

    def __getitem__(self, image_id: str) -> Boxes:
        if image_id in self._pending:
            return self._pending[image_id]
        part, row = self._where[image_id]
        if part not in self._cache:
            self._cache[part] = _boxes_of(_read_table(self._parts[part]))
            while len(self._cache) > _CACHED_PARTS:
                self._cache.popitem(last=False)
        self._cache.move_to_end(part)
        return self._cache[part][row]

    def __iter__(self) -> Iterator[str]:
        yield from self._where
        yield from self._pending

    def __len__(self) -> int:
        return len(self._where) + len(self._pending)

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._where or image_id in self._pending

    def fill(
        self,
        ids: Sequence[str],
        produce: Callable[[Sequence[str]], Iterable[Outcome]],
        description: str,
        strict: bool = False,
    ) -> FillReport:
        """Computes and writes the boxes of those of `ids` that the store does not have yet.

        Args:
            ids: the images wanted, in a fixed order.
            produce: takes the missing ids and yields (image id, boxes or what was wrong with it) in their order.
            description: what the progress bar says.
            strict: raise the first `InputError` instead of recording it.

        Raises:
            InputError: with `strict`, an image could not be done. What was finished before stays.
        """

        def produce_named(missing: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Boxes] | InputError]]:
            for image_id, outcome in produce(missing):
                yield image_id, outcome if isinstance(outcome, InputError) else {"": outcome}

        return fill_together({"": self}, ids, produce_named, description, strict)[""]

    def _add_part(self, path: Path) -> None:
        names = _read_table(path, ["image_id"])["image_id"].to_pylist()
        self._where.update({image_id: (len(self._parts), row) for row, image_id in enumerate(names)})
        self._parts.append(path)

    def _read_pending(self) -> dict[str, Boxes]:
        pending: dict[str, Boxes] = {}
        for path in sorted((self.folder / "pending").glob("*.parquet")):
            table = _read_table(path)
            image_id = table["image_id"][0].as_py()
            if image_id not in self._where:  # else killed after its part was written, before this file was removed
                pending[image_id] = _boxes_of(table)[0]
        return pending

    def _add_pending(self, image_id: str, boxes: Boxes) -> None:
        _write_table(_free_path(self.folder / "pending", len(self._pending)), {image_id: boxes})
        self._pending[image_id] = boxes
        if len(self._pending) >= self.part_size:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            path = _free_path(self.folder / "parts", len(self._parts))
            _write_table(path, self._pending)
            self._add_part(path)
            self._pending = {}
        # what is finished is in a part now; a killed run leaves files half written beside their place
        for leftover in [*(self.folder / "pending").glob("*.parquet"), *self.folder.rglob(".*.part")]:
            leftover.unlink(missing_ok=True)

    def _record_failed(self, tried: Sequence[str], failed: Mapping[str, str]) -> None:
        before, path = self.failed, self.folder / "failed.json"
        others = before.keys() - set(tried)
        after = {image_id: why for image_id, why in before.items() if image_id in others} | dict(failed)
        if not after:
            path.unlink(missing_ok=True)
        elif after != before:
            write_json(path, after)


def fill_together(
    stores: Mapping[str, BoxStore],
    ids: Sequence[str],
    produce: Callable[[Sequence[str]], Iterable[tuple[str, Mapping[str, Boxes] | InputError]]],
    description: str,
    strict: bool = False,
) -> dict[str, FillReport]:
    """Fills several stores in one pass over the images; an image that only some of them have is computed again.

    Args:
        stores: by name.
        ids: the images wanted, in a fixed order.
        produce: takes the missing ids and yields (image id, boxes by store's name or what was wrong) in their order.
        description: what the progress bar says.
        strict: raise the first `InputError` instead of recording it.

    Raises:
        InputError: with `strict`, an image could not be done. What was finished before stays.
    """
    start = time.perf_counter()
    missing = [image_id for image_id in ids if any(image_id not in store for store in stores.values())]
    kept = {name: sum(image_id in store for image_id in ids) for name, store in stores.items()}
    done, failed = dict.fromkeys(stores, 0), dict[str, str]()
    if missing:
        log.info("%s: %d images to do, %d there already", description, len(missing), len(ids) - len(missing))
        for store in stores.values():
            if len(store._pending) >= store.part_size:  # killed before the part that was due
                store._flush()
        for image_id, outcome in tqdm(
            produce(missing), desc=description, total=len(missing), unit="image", smoothing=0.1
        ):
            if isinstance(outcome, InputError):
                if strict:
                    raise outcome
                log.warning("%s: %s", image_id, outcome)
                failed[image_id] = str(outcome)
                continue
            for name, store in stores.items():
                if image_id not in store:
                    store._add_pending(image_id, outcome[name])
                    done[name] += 1
    reports = {}
    for name, store in stores.items():
        failed_here = {image_id: why for image_id, why in failed.items() if image_id not in store}
        store._flush()
        store._record_failed(ids, failed_here)
        reports[name] = FillReport(done[name], kept[name], failed_here, time.perf_counter() - start)
        log.info(
            "%s: %d done, %d there already, %d failed, %.1f s -> %s",
            description,
            done[name],
            kept[name],
            len(failed_here),
            reports[name].seconds,
            store.folder,
        )
        if failed_here:
            log.warning("%d images failed, each with its reason in %s", len(failed_here), store.folder / "failed.json")
    return reports


def _free_path(folder: Path, number: int) -> Path:
    """The place of the file that comes after `number` others: further on where damaged ones were deleted."""
    return next(path for n in count(number) if not (path := folder / f"{n:06d}.parquet").exists())


def _write_table(path: Path, boxes_by_id: Mapping[str, Boxes]) -> None:
    offsets = np.cumsum([0, *(len(boxes) for boxes in boxes_by_id.values())]).astype(np.int32)
    all_boxes = Boxes.concatenate(boxes_by_id.values())
    values = [*all_boxes.xyxy.T, all_boxes.scores, all_boxes.labels, all_boxes.difficult]
    columns = [
        pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(value), type=dtype))
        for value, dtype in zip(values, _COLUMNS.values(), strict=True)
    ]
    table = pa.Table.from_arrays([pa.array(list(boxes_by_id), pa.string()), *columns], schema=_SCHEMA)
    with replacing(path) as beside:
        pq.write_table(table, beside, write_page_checksum=True)


def _read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    try:
        # read as one file: a folder name such as "seed=1" above it is no partition
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if file.schema_arrow != _SCHEMA:
                raise pa.ArrowInvalid(f"its columns are {file.schema_arrow.names}, not {_SCHEMA.names}")
            return file.read(columns=columns)
    except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: names that are no text
        raise InputError(f"{path} is not a readable part of a box store: {error}; delete it and run again") from error


def _boxes_of(table: pa.Table) -> list[Boxes]:
    columns = [table[name].combine_chunks() for name in _COLUMNS]
    offsets = columns[0].offsets.to_numpy()
    x1, y1, x2, y2, scores, labels, difficult = (column.values.to_numpy(zero_copy_only=False) for column in columns)
    xyxy = np.stack([x1, y1, x2, y2], axis=1)
    return [Boxes(xyxy[a:b], scores[a:b], labels[a:b], difficult[a:b]) for a, b in pairwise(offsets)]
