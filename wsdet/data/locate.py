"""Where the images are that an annotation file names: in other folders, of another machine, uploaded under a hash."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import takewhile
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from wsdet.data.paths import image_names

_UPLOAD_HASH = re.compile(r"^[0-9a-f]{8}-(?=.)")  # Label Studio puts it before the name of what is uploaded


def locate(folder: Path, names: Iterable[str], places: Sequence[str] = ("",)) -> dict[str, str | None]:
    """The file of each name below `folder`, as a relative path; None where there is none, or where it is not clear.

    First the names as they are, in each of `places`. Then the longest tail of a name that exists there: an absolute
    path of another machine ends with the path below the root. Then any image below `folder` of that file name, however
    composed its letters are, and in the end without the hash that Label Studio puts before it. Only a name as it is may
    share its file with another; two names that could only be guessed to be the same file are both None.

    Args:
        folder: the root.
        names: as an annotation file gives them: with backslashes, as URLs, absolute.
        places: folders below the root in which names may start.
    """
    parts_of = {name: _parts(name) for name in dict.fromkeys(names)}
    found: dict[str, str | None] = {name: _below(folder, parts, places) for name, parts in parts_of.items()}
    if all(found.values()):
        return found
    taken = {file for file in found.values() if file}
    guesses_of = _Guesses(folder, places)
    for guess in (guesses_of.longest_tail, guesses_of.same_name, guesses_of.without_hash):
        guesses = {name: guess(parts_of[name]) for name, file in found.items() if file is None}
        names_of: defaultdict[str, list[str]] = defaultdict(list)
        for name, file in guesses.items():
            if file and file not in taken:
                names_of[file].append(name)
        unique = {file: of_file[0] for file, of_file in names_of.items() if len(of_file) == 1}
        found |= {name: file for file, name in unique.items()}
        taken |= unique.keys()
    return found


def existing_tail(folder: Path, entry: str) -> str | None:
    """The longest tail of a path that exists below `folder`, be it a file or a folder.

    "../train/images" and "/content/pets/train/images" are "train/images" where that is there; None for nothing.
    """
    parts = _parts(entry)
    tails = ["/".join(parts[start:]) for start in range(len(parts))]
    return next((tail for tail in tails if os.path.exists(folder / tail)), None)  # noqa: PTH110  (any name)


def plain_name(name: str) -> str:
    """A name as a relative path with forward slashes, without drive, host, query or steps upwards."""
    return "/".join(_parts(name))


def normalized(name: str) -> str:
    """A name in a form in which composed and decomposed letters, capitals and small ones are the same."""
    return unicodedata.normalize("NFC", name).casefold()


def without_upload_hash(name: str) -> str:
    """A file name without the hash that Label Studio put before it, if there is one."""
    return _UPLOAD_HASH.sub("", name)


def _parts(name: str) -> tuple[str, ...]:
    if "://" in name or name.startswith("/data/"):  # a URL, or Label Studio's path on its server
        name = unquote(name.partition("?d=")[2] or re.sub(r"^[a-z0-9]+://[^/]*|[?#].*$", "", name))
    parts = name.replace("\\", "/").split("/")
    return tuple(part for part in parts if part not in ("", ".", "..") and not re.fullmatch("[A-Za-z]:", part))


def _below(folder: Path, parts: Sequence[str], places: Sequence[str]) -> str | None:
    if not parts:
        return None
    files = (str(PurePosixPath(place, *parts)) for place in places)
    return next((file for file in files if os.path.isfile(folder / file)), None)  # noqa: PTH113  (any name)


class _Guesses:
    """Ways to guess the file of a name, from the surest on. Images are listed when the second is asked first."""

    def __init__(self, folder: Path, places: Sequence[str]) -> None:
        self._folder = folder
        self._places = places

    @cached_property
    def _by_name(self) -> Mapping[str, Sequence[str]]:
        """Images by their normalized file names, and by those without the suffix."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for file in image_names(self._folder):
            name = PurePosixPath(normalized(file)).name
            found[name].append(file)
            found[PurePosixPath(name).stem].append(file)
        return found

    def longest_tail(self, parts: Sequence[str]) -> str | None:
        tails = (_below(self._folder, parts[start:], ("", *self._places)) for start in range(1, len(parts)))
        return next((file for file in tails if file), None)

    def same_name(self, parts: Sequence[str]) -> str | None:
        candidates = self._by_name.get(normalized(parts[-1]), ()) if parts else ()
        tails = {file: _common_tail(file, parts) for file in candidates}
        best = [file for file in candidates if tails[file] == max(tails.values())]
        if len(best) > 1:  # the same name in several folders: those that annotations of this kind speak of
            best = [file for file in best if any(place and file.startswith(f"{place}/") for place in self._places)]
        return best[0] if len(best) == 1 else None

    def without_hash(self, parts: Sequence[str]) -> str | None:
        if not parts or without_upload_hash(parts[-1]) == parts[-1]:
            return None
        return self.same_name([*parts[:-1], without_upload_hash(parts[-1])])


def _common_tail(file: str, parts: Sequence[str]) -> int:
    """How many folders above the file name are the same."""
    pairs = zip(reversed(PurePosixPath(file).parts[:-1]), reversed(parts[:-1]), strict=False)
    return sum(1 for _ in takewhile(lambda pair: normalized(pair[0]) == normalized(pair[1]), pairs))
