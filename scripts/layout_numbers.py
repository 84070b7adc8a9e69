"""Counts what makes a package easy or hard to find one's way in, by Python's `ast`.

    python scripts/layout_numbers.py                                        # of this checkout
    git worktree add /tmp/then c607e80; python scripts/layout_numbers.py /tmp/then

Private functions count that are named once beside their definition; modules are in a circle when they import each
other, also through others or for type checkers alone. `--setting NAME` counts the lines and files of wsdet/ and conf/
that name a setting.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections import Counter
from pathlib import Path


def main() -> None:
    """Prints one line per number."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).resolve().parents[1])
    parser.add_argument("--setting", default="min_crop")
    arguments = parser.parse_args()
    root: Path = arguments.folder
    paths = sorted((root / "wsdet").rglob("*.py"))
    modules = {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in modules.items()}
    functions = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    longest = max(functions, key=_length)
    word = re.compile(rf"\b{arguments.setting}\b")
    texts = [path.read_text(encoding="utf-8") for path in [*paths, *(root / "conf").rglob("*.yaml")]]
    named = [sum(word.search(line) is not None for line in text.splitlines()) for text in texts]
    print("Python files directly in wsdet/:", sum(path.parent == root / "wsdet" for path in paths))
    print("modules:", len(modules))
    imports = {name: imported(tree, modules) for name, tree in trees.items()}
    print("modules in import circles:", len(in_circles(imports)))
    print(f"longest function: {_length(longest)} lines with docstring, {longest.name}")
    print("private functions named once beside their definition:", called_once(trees))
    print(f"lines that name the setting {arguments.setting}: {sum(named)}, in {sum(map(bool, named))} files")
    for part in ("wsdet", "tests", "scripts", "conf"):
        files = [path for path in (root / part).rglob("*") if path.suffix in (".py", ".yaml", ".sh")]
        print(f"lines in {part}/:", sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files))


def imported(tree: ast.AST, modules: dict[str, Path]) -> set[str]:
    """The modules of the package that a module imports anywhere."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            found |= {name if name in modules else str(node.module) for name in names}
    return found & modules.keys()


def in_circles(imports: dict[str, set[str]]) -> set[str]:
    """The modules that import themselves through others."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(imports[start])
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += imports[name]
        return seen

    return {name for name in imports if name in reached(name)}


def called_once(trees: dict[str, ast.Module]) -> int:
    """Private functions and methods that one place calls or hands on."""
    once = 0
    for tree in trees.values():
        private = {
            node.name
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and node.name.startswith("_") and not node.name.startswith("__")
        }
        uses = Counter(
            node.id if isinstance(node, ast.Name) else node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Name | ast.Attribute)
        )
        once += sum(uses[name] == 1 for name in private)
    return once


def _length(node: ast.FunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


if __name__ == "__main__":
    main()
