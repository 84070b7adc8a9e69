"""The command `wsdet`: `wsdet localize ...` is `python -m wsdet.localize ...`."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

from wsdet.version import __version__

_PACKAGE = Path(__file__).resolve().parents[1]
_ALSO = {"predict": "detect"}  # other names of programs


def programs() -> dict[str, str]:
    """What each program does, in one line, by name: every module beside this package's folders with a `main`."""
    found = {}
    for path in sorted(_PACKAGE.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))  # importing all of them would take seconds
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0].partition(": `")[0].rstrip(".")
    return found | {also: f"the same as {name}" for also, name in _ALSO.items() if name in found}


def main() -> None:
    """Entry point."""
    known, name = programs(), sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help", "help"):
        print(_help(known))
    elif name == "--version":
        print(__version__)
    elif name not in known:
        sys.exit(f"wsdet {name}: there is no such program; wsdet --help lists them: {', '.join(known)}")
    else:
        sys.argv[:2] = [f"wsdet {name}"]
        importlib.import_module(f"wsdet.{_ALSO.get(name, name)}").main()


def _help(known: dict[str, str]) -> str:
    wide = max(map(len, known))
    lines = [f"  {name:<{wide}}  {does}" for name, does in known.items()]
    return "\n".join(["usage: wsdet PROGRAM [group=option] [key=value] ...", "", *lines, "", _MORE])


_MORE = "wsdet PROGRAM --help shows the options of one; wsdet predict model=RUN/detectors/pseudo images=PHOTOS out=DIR"
