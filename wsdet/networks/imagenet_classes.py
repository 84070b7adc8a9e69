"""Which of a classifier's 1000 ImageNet outputs stand for a data set's classes.

`imagenet_outputs.json` holds the outputs' WordNet ids and names, and, for the classes of PASCAL VOC and COCO, the
outputs that are hyponyms of the class in WordNet 3.0, with a note wherever a choice was made.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from wsdet.storage.untrusted import read_json
from wsdet.types import InputError

log = logging.getLogger(__name__)

IMAGENET_OUTPUTS = 1000

_FILE = Path(__file__).with_name("imagenet_outputs.json")
_WNID = re.compile(r"n\d{8}")


def class_outputs(classes: Sequence[str], wnids: Sequence[str] | None = None) -> tuple[tuple[int, ...], ...]:
    """The outputs of each class, ascending; none for a class without counterpart, which is logged.

    A class is found by its WordNet id (from `wnids`, or in its name), else by its name: first among the classes of VOC
    and COCO, then among the names of the outputs. Case, spaces, hyphens and underscores do not matter in names,
    except where they tell two outputs apart.

    Example:
        >>> class_outputs(["horse", "dining table", "crane (n02012849)"])
        ((339,), (532,), (134,))

    Args:
        classes: names of the data set's classes.
        wnids: their WordNet ids, where the data set has them.

    Raises:
        InputError: there are classes, and none has a counterpart.
        ValueError: `wnids` are not as many as `classes`.
    """
    if wnids is not None and len(wnids) != len(classes):
        raise ValueError(f"wnids must be as many as classes, {len(classes)}, got {len(wnids)}")
    outputs = tuple(_outputs_of(name, wnid) for name, wnid in zip(classes, wnids or [""] * len(classes), strict=True))
    without = [name for name, found in zip(classes, outputs, strict=True) if not found]
    if classes and len(without) == len(classes):
        raise InputError(
            f"none of the classes ({_shortened(classes)}) has a counterpart among the 1000 ImageNet outputs; "
            "set network.head=finetune to train outputs of their own"
        )
    if without:
        log.warning(
            "%d of %d classes have no counterpart among the 1000 ImageNet outputs and get no scores: %s",
            len(without),
            len(classes),
            _shortened(without),
        )
    return outputs


def has_counterpart(classes: Sequence[str], wnids: Sequence[str] | None = None) -> bool:
    """Whether any of the classes is known to ImageNet; arguments as of `class_outputs`."""
    return any(_outputs_of(name, wnid) for name, wnid in zip(classes, wnids or [""] * len(classes), strict=True))


def _outputs_of(name: str, wnid: str) -> tuple[int, ...]:
    in_name = _WNID.search(name)
    wnid = wnid or (in_name.group() if in_name else "")
    by_key = _outputs_by_key()
    return next((by_key[key] for key in (wnid, name, _normalized(name)) if key in by_key), ())


@cache
def _outputs_by_key() -> dict[str, tuple[int, ...]]:
    """Outputs by WordNet id and by normalized name; what is said of a class overrides an output's name."""
    content = read_json(_FILE)
    by_key: dict[str, tuple[int, ...]] = {}
    for index, (wnid, name) in enumerate(content["outputs"]):
        by_key |= {wnid: (index,), name: (index,)}
    for index, (_, name) in enumerate(content["outputs"]):
        by_key.setdefault(_normalized(name), (index,))  # "cardigan" is the garment, "Cardigan" the dog
    for name, entry in content["classes"].items():
        by_key |= {_normalized(key): tuple(entry["outputs"]) for key in (name, *entry.get("aliases", ()))}
        if len(entry["synsets"]) == 1:
            by_key[entry["synsets"][0]] = tuple(entry["outputs"])
    return by_key


def _normalized(name: str) -> str:
    return re.sub(r"[\s_\-/']+", "", name).casefold()


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
