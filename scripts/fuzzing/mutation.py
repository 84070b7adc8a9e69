"""Changes of a file's content: of its bytes, or of the structure that its suffix promises."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any
from xml.etree.ElementTree import Element, ParseError, tostring

from defusedxml import DefusedXmlException
from defusedxml import ElementTree as SafeElementTree

_NUMBERS = (0, -1, 1, 0.5, 2, 2**31, 2**63, -(2**64), 10**400, 1e-300, 1e308, float("nan"), float("inf"), True)
_TEXTS = (
    *("", " ", "0", "-1", "nan", "1e999", "a", "b", "a.jpg", "images/b.jpg", "../a.jpg", "/etc/passwd", "C:\\x\\a.jpg"),
    *("\0", "\ud800", "e\u0301", "=1+1", "\x1b[2J", "x" * 300, "train", "val", "person", "${oc.env:HOME}", "*a", "&a"),
)
_VALUES: tuple[Any, ...] = (*_NUMBERS, *_TEXTS, None, [], {}, [[]], [{}], {"id": 1}, [1, 2, 3, 4], ["a"])
_TOKENS = re.compile(r"([\s,;:|=\[\]{}\"']+)")


def mutated(content: bytes, suffix: str, max_size: int, seed: int, of_bytes: Callable[[bytes, int], bytes]) -> bytes:
    """The content, changed in one to three places; half of the time as bytes.

    Args:
        content: of the file.
        suffix: of its name.
        max_size: bytes.
        seed: of the change.
        of_bytes: changes bytes, given at most how many come back.
    """
    chance = random.Random(seed)
    change = _OF_SUFFIX.get(suffix)
    if change is None or chance.random() < 0.5:
        return of_bytes(content, max_size)
    try:
        for _ in range(chance.randint(1, 3)):
            content = change(content, chance)
    except (ValueError, ParseError, DefusedXmlException, RecursionError, LookupError, OverflowError):
        return of_bytes(content, max_size)
    return content[:max_size]


def _json(content: bytes, chance: random.Random) -> bytes:
    root = [json.loads(content)]
    places = [(root, 0)]
    for holder, key in places:  # grows while it is walked
        value = holder[key]
        if isinstance(value, dict | list) and len(places) < 5000:
            places += [(value, inner) for inner in (value if isinstance(value, dict) else range(len(value)))]  # type: ignore[misc]
    holder, key = chance.choice(places)
    other_holder, other_key = chance.choice(places)
    match chance.randrange(6):
        case 0 | 1:
            holder[key] = chance.choice(_VALUES)
        case 2:
            holder[key] = json.loads(json.dumps(other_holder[other_key]))
        case 3 if holder is not root:
            del holder[key]
        case 4 if isinstance(holder, list):
            holder.insert(key, json.loads(json.dumps(other_holder[other_key])))
        case 5 if isinstance(holder, dict):
            holder[str(chance.choice(_TEXTS))] = holder.pop(key)
        case _:
            holder[key] = [holder[key]]
    return json.dumps(root[0]).encode()


def _xml(content: bytes, chance: random.Random) -> bytes:
    root: Element = SafeElementTree.fromstring(content)
    every = list(root.iter())
    element, parent = chance.choice(every), chance.choice([one for one in every if len(one)] or [root])
    text = "".join(c for c in str(chance.choice(_VALUES)) if c.isprintable())
    match chance.randrange(6):
        case 0:
            element.text = text
        case 1 if element.attrib:
            element.set(chance.choice(list(element.attrib)), text)
        case 2 if element.attrib:
            del element.attrib[chance.choice(list(element.attrib))]
        case 3 if len(parent):
            parent.remove(chance.choice(list(parent)))
        case 4:
            element.tag = chance.choice(every).tag
        case _:
            parent.append(element if element is not root and parent not in element.iter() else Element("object"))
    return tostring(root)


def _text(content: bytes, chance: random.Random) -> bytes:
    parts = _TOKENS.split(content.decode("utf-8", "surrogateescape"))
    at = chance.randrange(len(parts))
    match chance.randrange(5):
        case 0 | 1:
            parts[at] = str(chance.choice(_VALUES))
        case 2:
            del parts[at]
        case 3:
            parts.insert(at, chance.choice(parts))
        case _:
            parts[at] = chance.choice(parts)
    return "".join(parts).encode("utf-8", "surrogateescape" if chance.random() < 0.5 else "replace")


_OF_SUFFIX = {
    ".json": _json,
    ".xml": _xml,
    **dict.fromkeys((".txt", ".csv", ".tsv", ".yaml", ".data", ".names", ".labels"), _text),
}
