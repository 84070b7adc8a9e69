"""Names of earlier versions: what a config, a command line or the settings of an earlier run call otherwise today.

They are read for one release after the renaming, with a warning where a person gives them. In Python only today's
names are taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# keys below the top level of a config, which has others of these names
KEYS = {
    "trust": "score_exponent",
    "n_hidden": "n_occluded",
    "hiding": "occlusion_weight",
    "sharpness": "voting_exponent",
    "doubtful_below": "low_confidence_below",
    "unlabelled": "unlabeled",
}
# `_target_` of classes that moved
TARGETS = {
    "wsdet.store.BoxStore": "wsdet.storage.box_store.BoxStore",
    "wsdet.rcnn.features.RoiFeatures": "wsdet.detectors.rcnn.features.RoiFeatures",
    "wsdet.rcnn.features.WarpFeatures": "wsdet.detectors.rcnn.features.WarpFeatures",
    "wsdet.rcnn.protocol.TrainingProtocol": "wsdet.detectors.rcnn.protocol.TrainingProtocol",
}
_OVERRIDE = re.compile(r"(?P<place>[+~]{0,2}(?:[\w@/-]+\.)+)(?P<key>\w+)(?P<value>=.*)?", re.DOTALL)


def renamed(settings: Any) -> Any:
    """Plain nested settings with today's names; where an old and a new key stand together, the old one's value counts.

    >>> renamed({"localizer": {"trust": 0.5}})
    {'localizer': {'score_exponent': 0.5}}
    """
    if isinstance(settings, Mapping):
        inner = {key: renamed(value) for key, value in settings.items()}
        new = {key: value for key, value in inner.items() if key not in KEYS}
        new |= {KEYS[key]: value for key, value in inner.items() if key in KEYS}
        return new | ({"_target_": TARGETS.get(str(new["_target_"]), new["_target_"])} if "_target_" in new else {})
    return [renamed(value) for value in settings] if isinstance(settings, list) else settings


def renamed_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A whole config with today's names."""
    return {key: renamed(value) for key, value in config.items()}


def renamed_override(argument: str) -> str:
    """An argument of the command line with today's key.

    >>> renamed_override("localizer.trust=0.5")
    'localizer.score_exponent=0.5'
    """
    found = _OVERRIDE.fullmatch(argument)
    return f"{found['place']}{KEYS.get(found['key'], found['key'])}{found['value'] or ''}" if found else argument


def renaming(old: str) -> str:
    """What to tell a person who gave an old name, with its place: "localizer.trust"."""
    place, dot, key = old.rpartition(".")
    return f"{old} is now {place}{dot}{KEYS[key]}; the next release will not take the old name"
