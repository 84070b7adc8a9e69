"""Images that have changed since their boxes were stored are done again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from wsdet.storage.box_store import BoxStore, Outcome
from wsdet.types import Boxes, InputError


def test_a_row_made_again_counts_wherever_the_image_moves_to(tmp_path: Path) -> None:
    fill_named(tmp_path, dict.fromkeys("abcdef", "1"), 1)
    for score in (2, 3):  # the last images come first: to a part with a lower number
        _, done = fill_named(tmp_path, dict.fromkeys("fedcba", str(score)), score)
        assert done == list("fedcba")
        assert scores(BoxStore(tmp_path)) == dict.fromkeys("abcdef", score)


def fill_named(folder: Path, fingerprints: dict[str, str], score: float) -> tuple[BoxStore, list[str]]:
    """Fills a store of parts of two images; what was done, and the store."""
    done: list[str] = []

    def produce(missing: Sequence[str]) -> Iterator[Outcome]:
        for image_id in missing:
            done.append(image_id)
            yield image_id, Boxes(np.array([[0, 0, 1, 1]], np.float32), scores=np.array([score], np.float32))

    store = BoxStore(folder, {}, part_size=2)
    store.fill(list(fingerprints), produce, "test", fingerprint=fingerprints.__getitem__)
    return store, done


def scores(store: BoxStore) -> dict[str, float]:
    return {image_id: float(boxes.scores[0]) for image_id, boxes in store.items()}


def test_only_what_has_changed_is_done_again_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = {name: f"{name} 1" for name in "abcde"}
    assert fill_named(tmp_path, first, 1)[1] == list("abcde")
    assert fill_named(tmp_path, first, 2)[1] == []
    changed = first | {"b": "b 2", "e": "e 2", "f": "f 1"}
    store, done = fill_named(tmp_path, changed, 3)
    assert done == ["b", "e", "f"]
    assert "2 images have changed since, or their labels, and are done again, b for one" in caplog.text
    for there in (store, BoxStore(tmp_path)):
        assert scores(there) == {"a": 1, "b": 3, "c": 1, "d": 1, "e": 3, "f": 3}
        assert len(there) == 6
    assert fill_named(tmp_path, changed, 4)[1] == []
    assert fill_named(tmp_path, first | {"e": "e 2"}, 5)[1] == ["b"]


def test_a_changed_image_that_fails_has_no_boxes(tmp_path: Path) -> None:
    fill_named(tmp_path, {"a": "1", "b": "1"}, 1)
    store = BoxStore(tmp_path, {}, part_size=2)
    with pytest.raises(InputError, match="none of 2 images could be done; a: broken"):
        store.fill(["a", "b"], lambda ids: [(i, InputError("broken")) for i in ids], "test", fingerprint=lambda i: "2")
    assert (dict(store), store.failed) == ({}, {"a": "broken", "b": "broken"})


@pytest.mark.parametrize("unknown", ["then", "now"])
def test_an_image_of_which_nothing_is_known_is_kept(tmp_path: Path, unknown: str) -> None:
    fill_named(tmp_path, {"a": "" if unknown == "then" else "1"}, 1)
    assert fill_named(tmp_path, {"a": "" if unknown == "now" else "1"}, 2)[1] == []


def test_a_changed_image_that_was_pending_at_a_kill_counts(tmp_path: Path) -> None:
    fill_named(tmp_path, {"a": "1", "b": "1"}, 1)
    store = BoxStore(tmp_path, {}, part_size=2)

    def killed(ids: Sequence[str]) -> Iterator[Outcome]:
        yield ids[0], Boxes(np.array([[0, 0, 1, 1]], np.float32), scores=np.array([2], np.float32))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.fill(["a", "b"], killed, "test", fingerprint=lambda i: "2")
    assert scores(BoxStore(tmp_path)) == {"a": 2, "b": 1}
    assert fill_named(tmp_path, {"a": "2", "b": "2"}, 3)[1] == ["b"]
    assert scores(BoxStore(tmp_path)) == {"a": 2, "b": 3}
