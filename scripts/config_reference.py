"""Writes docs/config.md: every option of every file in conf/, with its default and what it means.

The meaning is the comment beside the key, and what the docstring of the class behind it (`_target_`) says of it.

    python scripts/config_reference.py            # writes the page
    python scripts/config_reference.py --check    # status 1 where the page does not say what conf/ says
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CONF, PAGE = ROOT / "conf", ROOT / "docs" / "config.md"

_LINE = re.compile(r"^(?P<indent> *)(?P<key>[\w.@/-]+):(?: +(?P<value>[^#]*?))?(?: +# *(?P<comment>.*))?$")
_COMMENT = re.compile(r"^(?P<indent> *)# ?(?P<text>.*)$")
_NOT_OPTIONS = ("defaults", "hydra", "names", "_target_")  # composed and read by Hydra and the programs themselves

INTRODUCTION = """# Every option

Made by `python scripts/config_reference.py` from the comments in `conf/` and the docstrings of the classes behind them.

An option of a group is set below the group's name: `localizer.score_exponent=0.5`, `network.training.epochs=5`. A value
out of its range is refused before any work starts, and the message says the range. A file that builds on another one
has the other's options too. `${seed}` stands for the value of another option, `???` for one that must be given.
"""


@dataclass(frozen=True)
class Option:
    """A key of a YAML file: its place in the file with dots, its default as written, and the comment on it."""

    name: str
    default: str
    comment: str


def options(text: str) -> tuple[str, list[Option]]:
    """The comment at the top of a YAML file, and its options.

    A comment is on the key in its line, and goes on in lines of comment alone that start in the same column; other
    lines of comment are on the next key.
    """
    top: list[str] = []
    before: list[str] = []
    found: list[Option] = []
    parents: list[tuple[int, str]] = []
    column, started = -1, False
    for line in text.splitlines():
        if comment := _COMMENT.match(line):
            if not started:
                top.append(comment["text"])
            elif found and len(comment["indent"]) == column:
                found[-1] = replace(found[-1], comment=f"{found[-1].comment} {comment['text']}")
            else:
                before.append(comment["text"])
            continue
        started = True
        if not (match := _LINE.match(line)):
            continue
        indent = len(match["indent"])
        parents = [parent for parent in parents if parent[0] < indent]
        name = ".".join([key for _, key in parents] + [match["key"]])
        parents.append((indent, match["key"]))
        comment_text = " ".join([*before, match["comment"] or ""]).strip()
        column, before = line.find("#"), []
        found.append(Option(name, (match["value"] or "").strip(), comment_text))
    return " ".join(top), [option for option in found if not set(option.name.split(".")) & set(_NOT_OPTIONS)]


def documented(target: str) -> dict[str, str]:
    """What the docstring of a class or function says of its arguments, by their names."""
    module, name = target.rsplit(".", 1)
    where: Any = getattr(importlib.import_module(module), name)
    found: dict[str, str] = {}
    owners = where.__mro__ if inspect.isclass(where) else (where,)
    for doc in (inspect.cleandoc(owner.__doc__ or "") for owner in owners if owner is not object):
        for section in re.findall(r"^(?:Args|Attributes):\n((?:    .*\n?|\n)+)", doc, re.MULTILINE):
            for entry in re.split(r"\n(?=    \S)", section.rstrip()):
                if match := re.match(r"\s*(\w+)(?: \([^)]*\))?: (.*)", entry, re.DOTALL):
                    found.setdefault(match[1], " ".join(match[2].split()))
    return found


def targets(path: Path) -> dict[str, str]:
    """The class behind each node of a file, by the node's name ("" for the file itself), those of its bases too."""
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    found: dict[str, str] = {}
    for base in bases(tree, path):
        found |= targets(base)
    return found | dict(_targets_in(tree, ""))


def _targets_in(tree: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if key == "_target_":
            yield prefix, value
        elif isinstance(value, dict):
            yield from _targets_in(value, f"{prefix}.{key}".lstrip("."))


def bases(tree: dict[str, Any], path: Path) -> list[Path]:
    """The files of the same folder that a file is built on."""
    named = [
        entry
        for entry in tree.get("defaults", [])
        if isinstance(entry, str) and entry.isidentifier() and entry != "_self_"
    ]
    return [path.parent / f"{entry}.yaml" for entry in named]


def section(path: Path) -> str:
    """One file of conf/ as Markdown."""
    text = path.read_text(encoding="utf-8")
    top, found = options(text)
    group = path.parent.relative_to(CONF).as_posix()
    lines = [f"### {path.stem if group == '.' else f'{group}={path.stem}'}", "", _prose(top), ""]
    if below := [f"`{base.stem}`" for base in bases(yaml.safe_load(text), path)]:
        lines += [f"Builds on {', '.join(below)}.", ""]
    classes = targets(path)
    if found:
        lines += ["| key | default | meaning |", "|---|---|---|"]
    for option in found:
        node, _, leaf = option.name.rpartition(".")
        said = documented(classes[node]).get(leaf, "") if node in classes else ""
        lines.append(f"| `{option.name}` | {_code(option.default)} | {_prose(_joined(option.comment, said))} |")
    return "\n".join(lines).rstrip() + "\n"


def _joined(comment: str, said: str) -> str:
    """Both, or the longer one where it holds the other."""
    if comment.lower() in said.lower() or said.lower() in comment.lower():
        return max(comment, said, key=len)
    return f"{comment.rstrip('.')}. {said[0].upper()}{said[1:]}"


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|") if text else ""


def _prose(text: str) -> str:
    """Comments are plain text: what Markdown would take for its own is escaped, except code between backticks."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*_<\[\]|])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def page() -> str:
    """The whole page."""
    programs = [section(path) for path in sorted(CONF.glob("*.yaml"))]
    groups = sorted({path.parent for path in CONF.glob("*/**/*.yaml")})
    parts = [INTRODUCTION, "## Programs\n", "`base` is part of every program.\n", *programs]
    for group in groups:
        parts.append(f"## {group.relative_to(CONF).as_posix()}\n")
        parts += [section(path) for path in sorted(group.glob("*.yaml"))]
    return "\n".join(parts)


def main() -> int:
    """Writes the page, or compares it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    made = page()
    if not parser.parse_args().check:
        PAGE.write_text(made, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != made:
        print("docs/config.md does not say what conf/ says: python scripts/config_reference.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
