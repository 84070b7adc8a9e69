"""Names of classes that are WordNet ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from wsdet.data.annotations import read_lines


def class_names(words: Path, wnids: Sequence[str]) -> tuple[str, ...]:
    """A short, unique name for each WordNet id.

    The first of a class's synonyms ("tabby, tabby cat" is "tabby"), with the id where two classes share it
    ("crane (n02012849)" is the bird), and the id alone where `words` does not have it.

    Args:
        words: a text file of lines "n02123045<tab or space>tabby, tabby cat"; it may be missing.
        wnids: WordNet ids.

    Raises:
        InputError: `words` is not UTF-8 text.
    """
    synonyms = dict(_split(line) for _, line in read_lines(words)) if words.exists() else {}
    first = [synonyms.get(wnid, wnid).split(",")[0].strip() or wnid for wnid in wnids]
    times = Counter(first)
    return tuple(name if times[name] == 1 else f"{name} ({wnid})" for name, wnid in zip(first, wnids, strict=True))


def _split(line: str) -> tuple[str, str]:
    wnid, *rest = line.split(maxsplit=1)
    return wnid, rest[0] if rest else wnid
