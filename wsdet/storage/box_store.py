"""`BoxStore`: a mapping image id -> `Boxes` on disk. Re-running is resuming; nothing finished is lost.

A store is a folder:

    settings.json     what the boxes depend on; opening it with other settings refuses
    parts/*.parquet   finished images, `part_size` to a file, one row per image with list columns
    pending/*.parquet finished images of the parts under way, one file per image
    failed.json       images that could not be done, with the reason; tried again on the next run

Every file is moved into place whole. The images at positions 64 k to 64 k + 63 of the ids go to parts/<k>.parquet, so
a run that was killed and resumed leaves the same bytes as one that was not, and several processes may each fill parts
of their own (`wsdet.storage.shard`). What comes to a part later goes to parts/more-<n>-<k>.parquet.

Each row has a fingerprint of what it was made from: the image and, for methods that look at them, its labels. An image
whose fingerprint has changed is done again; its row in a later part counts. Each part names the settings of its store,
so that a part of another one is noticed. A store may come from anywhere: whatever is read of it is checked.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from wsdet.progress import Bar
from wsdet.storage.box_parts import boxes_of, free_path, number_of, read_table, round_of, texts_of, write_table
from wsdet.storage.files import write_json
from wsdet.storage.provenance import check_settings, read_settings, recorded_digest
from wsdet.storage.shard import Shard
from wsdet.storage.untrusted import read_object, shown
from wsdet.types import Boxes, InputError

log = logging.getLogger(__name__)

Outcome = tuple[str, Boxes | InputError]

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

    def log(self, description: str, folder: Path, n_wanted: int) -> None:
        """Says what was done.

        Args:
            description: of the work.
            folder: of the store.
            n_wanted: images that were asked for.

        Raises:
            InputError: none of them could be done.
        """
        log.info(
            "%s: %d done, %d there already, %d failed, %.1f s -> %s",
            description,
            self.done,
            self.kept,
            len(self.failed),
            self.seconds,
            folder,
        )
        if self.failed:
            log.warning("%d images failed, each with its reason in %s", len(self.failed), folder / "failed.json")
        if self.failed and len(self.failed) == n_wanted:
            first, why = next(iter(self.failed.items()))
            raise InputError(f"{description}: none of {n_wanted} images could be done; {shown(first)}: {why}")


class BoxStore(Mapping[str, Boxes]):
    """Boxes by image id, in a folder.

    Args:
        folder: an existing store, or, with `settings`, a folder to make.
        settings: what the boxes depend on, as plain JSON values. None opens for reading whatever is there.
        part_size: images to a Parquet file.

    Raises:
        InputError: there is no store in `folder` and no settings were given; or the store was made with other
            settings (the message names the first that differs); or a file of it cannot be read, holds what is no box,
            or belongs to another store.
    """

    def __init__(self, folder: Path | str, settings: Mapping[str, Any] | None = None, part_size: int = 64) -> None:
        self.folder = Path(folder)
        self.part_size = part_size
        self._parts: list[Path] = []
        self._where: dict[str, tuple[int, int]] = {}  # image id -> (part, row)
        self._fingerprints: dict[str, str] = {}  # image id -> what it was made from, "" of earlier versions
        self._cache: OrderedDict[int, list[Boxes]] = OrderedDict()
        if settings is not None:
            check_settings(self.folder, settings)
        elif not (self.folder / "settings.json").exists():
            raise InputError(f"{self.folder} is not a box store: it has no settings.json")
        self._digest = recorded_digest(self.folder)
        self._outdated: dict[str, int] = {}  # image id -> the round of a part that holds it as it was before
        for path in sorted((self.folder / "parts").glob("*.parquet"), key=lambda path: (round_of(path), path)):
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
        return {image_id: str(why) for image_id, why in read_object(path).items()} if path.exists() else {}

    def __getitem__(self, image_id: str) -> Boxes:
        if image_id in self._pending:
            return self._pending[image_id]
        part, row = self._where[image_id]
        if part not in self._cache:
            self._cache[part] = self._read_part(self._parts[part])
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
        fingerprint: Callable[[str], str] | None = None,
        shard: Shard | None = None,
    ) -> FillReport:
        """Computes and writes the boxes of those of `ids` that the store does not have yet.

        Args:
            ids: the images wanted, in a fixed order.
            produce: takes the missing ids and yields (image id, boxes or what was wrong with it) in their order.
            description: what the progress bar says.
            strict: raise the first `InputError` instead of recording it.
            fingerprint: what an image's boxes depend on beside the store's settings; where it has changed, the image
                counts as missing. None: nothing.
            shard: the images of its parts alone are done; None: all.

        Raises:
            InputError: with `strict`, an image could not be done. What was finished before stays.
        """
        name = self.folder.name

        def produce_named(missing: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Boxes] | InputError]]:
            for image_id, outcome in produce(missing):
                yield image_id, outcome if isinstance(outcome, InputError) else {name: outcome}

        return self.fill_together({name: self}, ids, produce_named, description, strict, fingerprint, shard)[name]

    @staticmethod
    def fill_together(
        stores: Mapping[str, BoxStore],
        ids: Sequence[str],
        produce: Callable[[Sequence[str]], Iterable[tuple[str, Mapping[str, Boxes] | InputError]]],
        description: str,
        strict: bool = False,
        fingerprint: Callable[[str], str] | None = None,
        shard: Shard | None = None,
    ) -> dict[str, FillReport]:
        """Fills several stores in one pass over the images; an image that only some of them have is computed again.

        Args:
            stores: by name.
            ids: the images wanted, in a fixed order.
            produce: takes the missing ids and yields (image id, boxes by store or what was wrong) in their order.
            description: what the progress bar says.
            strict: raise the first `InputError` instead of recording it.
            fingerprint: see `BoxStore.fill`.
            shard: see `BoxStore.fill`.

        Raises:
            InputError: no image could be done; or, with `strict`, one could not. What was finished before stays.
        """
        start = time.perf_counter()
        order = {image_id: position for position, image_id in enumerate(dict.fromkeys(ids))}
        (part_size,) = {store.part_size for store in stores.values()} or {1}
        if shard is not None:
            ids = shard.own(order, part_size)
            log.info(
                "%s: shard %d of %d has %d of %d images", description, shard.number, shard.of, len(ids), len(order)
            )
        if fingerprint is not None:
            _forget_changed(list(stores.values()), ids, fingerprint, description)
        missing = [
            image_id for image_id in dict.fromkeys(ids) if any(image_id not in store for store in stores.values())
        ]
        last = {order[image_id] // part_size: image_id for image_id in missing}  # of each part
        places = {name: order if shard else store._places(order) for name, store in stores.items()}
        kept = {name: sum(image_id in store for image_id in ids) for name, store in stores.items()}
        done, failed = dict.fromkeys(stores, 0), dict[str, str]()
        if missing:
            log.info("%s: %d images to do, %d there already", description, len(missing), len(ids) - len(missing))
            for image_id, outcome in Bar(
                produce(missing), desc=description, total=len(missing), unit="image", smoothing=0.1
            ):
                outcome = _storable(outcome)
                if isinstance(outcome, InputError):
                    if strict:
                        raise outcome
                    log.warning("%s: %s", image_id, outcome)
                    failed[image_id] = str(outcome)
                for name, store in stores.items():
                    if not isinstance(outcome, InputError) and image_id not in store:
                        depends_on = fingerprint(image_id) if fingerprint else ""
                        store._add_pending(image_id, outcome[name], depends_on, order[image_id])
                        done[name] += 1
                    part = order[image_id] // part_size
                    if image_id == last[part]:
                        store._flush(places[name], shard, before=part + 1)
        reports = {}
        for name, store in stores.items():
            # what a killed run left of other images waits until they are asked for, for the part that they belong to
            if missing or any(image_id in store._pending for image_id in ids):
                store._flush(places[name], shard)
                store._clear((store.folder / "pending").glob("*.parquet"), shard)
            else:
                store._clear(store._left_over, shard)
            failed_here = store._note_failed(ids, failed, shard)
            reports[name] = FillReport(done[name], kept[name], failed_here, time.perf_counter() - start)
            reports[name].log(description, store.folder, len(set(ids)))
        return reports

    def _add_part(self, path: Path) -> None:
        table = self._read_table(path, ["image_id", "fingerprint"])
        names = texts_of(table, "image_id", path)
        self._where.update({image_id: (len(self._parts), row) for row, image_id in enumerate(names)})
        self._fingerprints.update(zip(names, texts_of(table, "fingerprint", path), strict=True))
        self._parts.append(path)

    def _read_pending(self) -> dict[str, Boxes]:
        pending: dict[str, Boxes] = {}
        self._left_over: list[Path] = []
        for path in sorted((self.folder / "pending").glob("*.parquet")):
            try:
                table = self._read_table(path)
                names, fingerprints = texts_of(table, "image_id", path), texts_of(table, "fingerprint", path)
                rows = list(zip(names, fingerprints, boxes_of(table, path), strict=True))
            except InputError as error:  # as after a loss of power
                if not path.exists():  # another shard has just written its part
                    continue
                log.warning("%s; its image is done again", error)
                continue
            for image_id, fingerprint, boxes in rows:
                if image_id not in self._where or fingerprint != self._fingerprints[image_id]:
                    pending[image_id] = boxes
                    self._fingerprints[image_id] = fingerprint
                else:  # killed after its part was written, before this file was removed
                    self._left_over.append(path)
        return pending

    def _read_part(self, path: Path) -> list[Boxes]:
        return boxes_of(self._read_table(path), path)

    def _read_table(self, path: Path, columns: list[str] | None = None) -> pa.Table:
        table, settings = read_table(path, columns)
        if settings not in (None, self._digest):
            raise InputError(
                f"{shown(path)} belongs to a store of other settings than {self.folder}; delete it, or restore the "
                "settings.json that it came with"
            )
        return table

    def forget_changed(self, ids: Iterable[str], fingerprint: Callable[[str], str]) -> list[str]:
        """Forgets those of `ids` that were made from something else than what is there now, and returns them."""
        there = {image_id: known for image_id in ids if (known := self._fingerprints.get(image_id))}
        changed = [image_id for image_id, known in there.items() if fingerprint(image_id) not in (known, "")]
        self.forget(changed)
        return changed

    def forget(self, ids: Iterable[str]) -> None:
        """Forgets images, whose rows in a later part will count."""
        for image_id in ids:
            if image_id in self._where:
                self._outdated[image_id] = round_of(self._parts[self._where.pop(image_id)[0]])
            self._pending.pop(image_id, None)
            self._fingerprints.pop(image_id, None)

    def _add_pending(self, image_id: str, boxes: Boxes, fingerprint: str, position: int) -> None:
        write_table(self._pending_path(position), {image_id: boxes}, [fingerprint], self._digest, durable=False)
        self._pending[image_id] = boxes
        self._fingerprints[image_id] = fingerprint

    def _pending_path(self, position: int) -> Path:
        return self.folder / "pending" / f"{position:06d}.parquet"

    def _places(self, order: Mapping[str, int]) -> Mapping[str, int]:
        """The positions of images; those that an earlier run with other ids left pending come in parts behind."""
        others = [image_id for image_id in self._pending if image_id not in order]
        behind = -(-len(order) // self.part_size) * self.part_size
        return {**order, **{image_id: n for n, image_id in enumerate(others, behind)}} if others else order

    def _flush(self, positions: Mapping[str, int], shard: Shard | None, before: int | None = None) -> None:
        """Writes the pending images as parts; of a shard, those of its own.

        Args:
            positions: of the images.
            shard: which parts; None: all.
            before: only parts with a lower number, which are through.
        """
        parts: dict[int, list[str]] = {}
        for image_id in self._pending:
            if image_id in positions:
                parts.setdefault(positions[image_id] // self.part_size, []).append(image_id)
        for number, unsorted in sorted(parts.items()):
            if (before is None or number < before) and (shard is None or shard.has(number)):
                self._flush_part(number, sorted(unsorted, key=positions.__getitem__))
                for image_id in unsorted:
                    self._pending_path(positions[image_id]).unlink(missing_ok=True)

    def _flush_part(self, number: int, ids: Sequence[str]) -> None:
        old = [self._outdated[image_id] for image_id in ids if image_id in self._outdated]
        old += [round_of(self._parts[self._where[image_id][0]]) for image_id in ids if image_id in self._where]
        path = free_path(self.folder / "parts", number, max(old, default=-1) + 1)
        boxes_by_id = {image_id: self._pending[image_id] for image_id in ids}
        write_table(path, boxes_by_id, [self._fingerprints[image_id] for image_id in ids], self._digest)
        self._add_part(path)
        for image_id in ids:
            del self._pending[image_id]

    def _note_failed(self, ids: Sequence[str], failed: Mapping[str, str], shard: Shard | None) -> dict[str, str]:
        """Records what failed, and returns it."""
        failed_here = {image_id: why for image_id, why in failed.items() if image_id not in self}
        self._record_failed(ids, failed_here, shard)
        return failed_here

    def _clear(self, in_parts: Iterable[Path], shard: Shard | None) -> None:
        """Removes what killed runs left: files of pending images that are in a part now, and files half written."""
        pending, parts = self.folder / "pending", self.folder / "parts"
        numbered = [(path, number_of(path) // self.part_size) for path in in_parts]
        numbered += [(path, number_of(path) // self.part_size) for path in pending.glob(".*.part")]
        numbered += [(path, number_of(path)) for path in parts.glob(".*.part")]
        for leftover, part in numbered:
            if shard is None or (part >= 0 and shard.has(part)):
                leftover.unlink(missing_ok=True)

    def _record_failed(self, tried: Sequence[str], failed: Mapping[str, str], shard: Shard | None) -> None:
        with shard.alone("failed") if shard else nullcontext():
            before, path = self.failed, self.folder / "failed.json"
            others = before.keys() - set(tried)
            after = {image_id: why for image_id, why in before.items() if image_id in others} | dict(failed)
            if not after:
                path.unlink(missing_ok=True)
            elif after != before:
                write_json(path, after)


def _forget_changed(
    stores: Sequence[BoxStore], ids: Sequence[str], fingerprint: Callable[[str], str], description: str
) -> None:
    changed = {image_id for store in stores for image_id in store.forget_changed(ids, fingerprint)}
    if changed:
        log.warning(
            "%s: %d images have changed since, or their labels, and are done again, %s for one",
            description,
            len(changed),
            shown(min(changed)),
        )
        for store in stores:
            store.forget(changed)


def _storable(outcome: Mapping[str, Boxes] | InputError) -> Mapping[str, Boxes] | InputError:
    """An image's boxes, or why a store would refuse to read them again."""
    if not isinstance(outcome, InputError) and not all(np.isfinite(one.scores).all() for one in outcome.values()):
        return InputError("its boxes have scores that are not finite; report what made them")
    return outcome
