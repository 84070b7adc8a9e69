"""Writing XML from untrusted text: escaped by the library, and without the characters that XML cannot hold."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from wsdet.storage.files import replacing

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def add(parent: Element, tag: str, text: object = None, **attributes: object) -> Element:
    """A new last child of `parent`; what XML cannot hold in its text and attributes becomes U+FFFD."""
    child = SubElement(parent, tag, {name: _clean(value) for name, value in attributes.items()})
    child.text = None if text is None else _clean(text)
    return child


def write_xml(path: Path, root: Element) -> None:
    """Writes the element as an indented UTF-8 file, whole or not at all."""
    indent(root)
    with replacing(path) as beside:
        ElementTree(root).write(beside, encoding="utf-8", xml_declaration=True)


def _clean(value: object) -> str:
    return _NOT_XML.sub("\ufffd", str(value))
