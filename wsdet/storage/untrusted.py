"""The one place where a file of unknown origin is opened: bytes, text, JSON, YAML and XML within fixed limits.

Only regular files are read (a pipe would block, a device would never end), no more than a stated number of bytes of
them, and nothing that is nested deeper than `MAX_DEPTH`, expands by aliases or entities, or holds text that no UTF-8
file could. Whatever is wrong becomes one `InputError` that names the file and the remedy.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree.ElementTree import Element, ParseError

from wsdet.types import InputError

MAX_DEPTH = 100  # levels of nesting in JSON and YAML
MAX_BYTES = 2 * 2**30  # annotations of a whole data set: those of COCO are 448 MB, of LVIS 1.1 GB
MAX_SETTINGS_BYTES = 64 * 2**20  # what describes one run, store or model
MAX_YAML_BYTES = 2**20
MAX_YAML_NODES = 100_000  # after aliases are replaced by what they stand for
MAX_XML_BYTES = 16 * 2**20  # the annotation of one image

_KINDS: dict[str, Callable[[int], bool]] = {
    "a folder": stat.S_ISDIR,
    "a pipe": stat.S_ISFIFO,
    "a device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
    "a socket": stat.S_ISSOCK,
}
_LONE_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # or half of a pair, which is allowed


@contextmanager
def opened(path: Path | str, max_bytes: int = MAX_BYTES) -> Iterator[BinaryIO]:
    """A regular file, opened for reading in binary mode.

    Args:
        path: a link to a regular file is followed.
        max_bytes: larger files are refused.

    Raises:
        InputError: it is missing, cannot be opened, is no regular file, or is too large.
    """
    try:
        file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115  (Path.open takes no opener)
    except FileNotFoundError as error:
        raise InputError(f"{shown(path)} does not exist") from error
    except (OSError, ValueError) as error:  # ValueError: no name of a file
        raise InputError(f"{shown(path)} cannot be opened: {getattr(error, 'strerror', error)}") from error
    with file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            kind = next((kind for kind, has in _KINDS.items() if has(status.st_mode)), "something else")
            raise InputError(f"{shown(path)} must be a regular file, it is {kind}; remove or replace it")
        if status.st_size > max_bytes:
            raise InputError(
                f"{shown(path)} has {status.st_size} bytes, at most {max_bytes} are read of a file of this kind; "
                "check that it is what it should be"
            )
        yield file


def read_bytes(path: Path | str, max_bytes: int = MAX_BYTES) -> bytes:
    """What a regular file holds.

    Raises:
        InputError: see `opened`; or it cannot be read.
    """
    with opened(path, max_bytes) as file:
        try:
            content = file.read(max_bytes + 1)
        except OSError as error:
            raise InputError(f"{shown(path)} cannot be read: {error.strerror or error}") from error
    if len(content) > max_bytes:  # it grew, or its size is not told, as of files in /proc
        raise InputError(f"{shown(path)} has more than {max_bytes} bytes; check that it is what it should be")
    return content


def read_text(path: Path | str, max_bytes: int = MAX_BYTES) -> str:
    """What a UTF-8 text file holds, without a byte order mark.

    Raises:
        InputError: see `opened`; or it is not UTF-8.
    """
    content = read_bytes(path, max_bytes)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{shown(path)} is not UTF-8 text: {error}; save it as UTF-8") from error


def read_json(path: Path | str, max_bytes: int = MAX_BYTES) -> Any:
    """The value in a UTF-8 JSON file; NaN and infinities pass.

    Raises:
        InputError: see `opened`; or it is not JSON, is nested deeper than `MAX_DEPTH`, or holds text with half of a
            surrogate pair, which no UTF-8 file can hold.
    """
    return parsed_json(read_text(path, max_bytes), shown(path))


def parsed_json(text: str, name: str) -> Any:
    """The value of a JSON text; `name` says what it is, for messages.

    Raises:
        InputError: see `read_json`.
    """
    too_deep = f"{name} is nested more than {MAX_DEPTH} levels deep; check that it is what it should be"
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise InputError(too_deep) from error
    except ValueError as error:  # also a number too long to be converted
        raise InputError(f"{name} is not a JSON file: {error}; correct or restore it") from error
    if _deeper_than(value, MAX_DEPTH):
        raise InputError(too_deep)
    if _LONE_SURROGATE.search(text) and not is_unicode(json.dumps(value, ensure_ascii=False)):
        raise InputError(f"{name} holds text with half of a surrogate pair (\\ud800 to \\udfff); correct it")
    return value


def read_object(path: Path | str, max_bytes: int = MAX_SETTINGS_BYTES) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        InputError: see `read_json`; or the file holds something else.
    """
    value = read_json(path, max_bytes)
    if not isinstance(value, dict):
        raise InputError(f"{shown(path)} must hold a JSON object, got {type(value).__name__}; restore or delete it")
    return value


def read_yaml(path: Path | str, max_bytes: int = MAX_YAML_BYTES) -> Any:
    """The value of a UTF-8 YAML file of plain values: no tags that make objects.

    Raises:
        InputError: see `opened`; or it is not such YAML, is nested deeper than `MAX_DEPTH`, has more than
            `MAX_YAML_NODES` values once its aliases are replaced, or an alias inside what it stands for.
    """
    import yaml  # type: ignore[import-untyped]

    text = read_text(path, max_bytes)
    try:
        _check_events(yaml.parse(text, yaml.SafeLoader), shown(path))
        return yaml.safe_load(text)
    except InputError:
        raise
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{shown(path)} is not readable YAML of plain values: {reason}; correct it") from error


def read_xml(path: Path | str, max_bytes: int = MAX_XML_BYTES) -> Element:
    """The root element of an XML file. Document types, entities and external references are refused.

    Raises:
        InputError: see `opened`; or it is not well formed, or declares what is refused.
    """
    from defusedxml import DefusedXmlException
    from defusedxml import ElementTree as SafeElementTree

    content = read_bytes(path, max_bytes)
    try:
        root: Element = SafeElementTree.fromstring(content, forbid_dtd=True)
        return root
    except DefusedXmlException as error:
        raise InputError(
            f"{shown(path)} declares a document type or entities ({error}); remove the declaration"
        ) from error
    except (ParseError, ValueError, LookupError) as error:
        raise InputError(f"{shown(path)} is not well-formed XML: {error}; correct or remove it") from error


def is_unicode(text: str) -> bool:
    """Whether `text` can be written as UTF-8; a file name of other bytes comes with lone surrogates for them."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def shown(text: object) -> str:
    r"""`text` on one line without any control character, for messages.

    >>> shown("a\n\x1b[2J.jpg")
    'a\\n\\x1b[2J.jpg'
    """
    plain = str(text)
    return plain if plain.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in plain)


def _without_waiting(path: str, flags: int) -> int:
    """An opener for which a pipe that nobody writes to is no reason to wait."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def _deeper_than(value: Any, levels: int) -> bool:
    found = [value]
    for _ in range(levels + 1):
        found = [
            inner
            for outer in found
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not found:
            return False
    return True


def _check_events(events: Iterable[Any], name: str) -> None:
    """Whether the values of a YAML file are few and flat, before any of them is made.

    The number of values of each anchored node is kept, so that an alias counts as many without being replaced.
    """
    import yaml

    n_values = 0
    open_nodes: list[tuple[str | None, int]] = []  # anchor, values before it
    n_values_of: dict[str, int] = {}
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in n_values_of:
                raise InputError(f"{name} has the alias *{event.anchor} inside what it stands for; write it out")
            n_values += n_values_of[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            n_values += 1
            if not is_unicode(event.value):
                raise InputError(f"{name} holds text with half of a surrogate pair (\\ud800 to \\udfff); correct it")
            if event.anchor:
                n_values_of[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, n_values))
            n_values += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                n_values_of[anchor] = n_values - before
        if n_values > MAX_YAML_NODES or len(open_nodes) > MAX_DEPTH:
            raise InputError(
                f"{name} has more than {MAX_YAML_NODES} values, its aliases replaced, or is nested more than "
                f"{MAX_DEPTH} levels deep; check that it is what it should be"
            )
