"""VOC's XML without VOC's folders: an XML file for each image, somewhere below the same root.

<root>/images/*.jpg, <root>/annotations/*.xml        labelImg
<root>/train/*.jpg, <root>/train/*.xml               Roboflow; also valid/, test/
"""

from __future__ import annotations

from pathlib import Path

from wsdet.data.beside import AnnotatedFolder, find_image, problem
from wsdet.data.records import Item, Record
from wsdet.data.splits import split_in_path
from wsdet.data.voc_xml import given_size, parse_objects
from wsdet.storage.untrusted import read_xml
from wsdet.types import InputError


class VocFolder(AnnotatedFolder):
    """Images and boxes in VOC's XML. Pixels count from 1 as in VOC: boxes are (x1 - 1, y1 - 1, x2, y2).

    See `AnnotatedFolder` for the arguments.
    """

    suffix = ".xml"

    def read(self, folder: Path, name: str, image: str | None) -> Record | None:
        """See `AnnotatedFolder`; a file that cannot be read is counted, also without an image."""
        path = folder / name
        try:
            root = read_xml(path)
            if root.tag != "annotation":
                return None
            shown = image or find_image(folder, root.findtext("filename")) or name.removesuffix(self.suffix)
            items = tuple(Item(*found) for found in parse_objects(root, 1, str(path)))
            return Record(shown, items, str(path), size_hw=given_size(root), split=split_in_path(shown))
        except InputError as error:
            return problem(image or name.removesuffix(self.suffix), path, error)


def is_voc_xml(path: Path) -> bool:
    """Whether an XML file is VOC's annotation of an image."""
    try:
        return read_xml(path).tag == "annotation"
    except InputError:
        return False
