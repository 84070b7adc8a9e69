"""The rules of the layout, read off the source: imports point one way, and some things appear nowhere.

`ROOMS` is the map of the house: which room may import which. Rooms are the folders of `wsdet/`, and the files
of the vocabulary and the programs directly in it.
"""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

EVERYWHERE = {"types", "check", "sampling", "progress", "version"}
VOCABULARY = EVERYWHERE | {"boxes", "tiles", "questions", "engine"}
PROGRAMS = {
    "train",
    "localize",
    "propose",
    "detect",
    "evaluate",
    "export",
    "compare",
    "doctor",
    "review",
    "improve",
    "choose",
}

# From the ground up: each room, and the rooms below it that it may import; those of `EVERYWHERE` may be imported
# everywhere.
ROOMS: dict[str, set[str]] = {
    # the vocabulary
    "types": set(),
    "check": set(),
    "sampling": set(),
    "progress": set(),
    "version": set(),
    "boxes": set(),
    "tiles": set(),
    "questions": {"tiles"},
    "engine": {"questions"},
    # what knows no method
    "storage": set(),
    "vision": set(),
    "formats": {"boxes", "storage"},
    "data": {"boxes", "storage", "formats"},
    "metrics": {"boxes"},
    "linear_models": {"storage"},
    "networks": {"boxes", "questions", "storage", "tiles"},
    # methods: each kind knows nothing of the others
    "localizers": {"boxes", "questions", "linear_models", "tiles", "vision"},
    "proposals": {"boxes", "data", "storage", "tiles", "vision"},
    "training": {"boxes", "data", "engine", "linear_models", "networks", "questions", "storage"},
    "detectors": {"boxes", "linear_models", "networks", "runners", "storage", "tiles", "training"},
    # what strings them together
    "report": {"boxes", "data", "metrics", "questions", "storage"},
    "runners": {"storage"},
    "stages": VOCABULARY | {"data", "detectors", "formats", "localizers", "metrics", "networks", "proposals", "report"}
    | {"runners", "storage", "training"},
    "cli": {"data", "stages", "storage", "tiles", "training"},
    **{p: {"cli", "stages", "storage", "report", "runners", "vision", "data", "detectors"} for p in PROGRAMS},
    # what a notebook imports
    "api": {"cli", "data", "detectors", "report", "stages", "storage", "tiles"},
    "wsdet": {"api"},
}  # fmt: skip

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "wsdet").rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in FILES}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Modules that a tree imports; those inside functions and for type checkers too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in MODULES else str(node.module) for name in names)


@cache
def all_imports() -> dict[str, set[str]]:
    """What each module imports."""
    return {name: set(imports(tree_of(path))) for name, path in MODULES.items()}


def room(module: str) -> str:
    """The room that a module is in; "wsdet" itself is one."""
    return module.split(".")[1] if "." in module else module


def test_there_is_something_to_check() -> None:
    assert {"wsdet.types", "wsdet.boxes", "wsdet.storage.box_store"} <= MODULES.keys()


def test_the_package_itself_holds_the_vocabulary_and_the_programs_alone() -> None:
    directly = {name.removeprefix("wsdet.") for name in MODULES if MODULES[name].parent == ROOT / "wsdet"}
    assert directly == VOCABULARY | PROGRAMS | {"api", "wsdet"}
    assert {room(name) for name in MODULES} == ROOMS.keys()


def test_imports_have_no_circle() -> None:
    """Those for type checkers alone among them."""
    graph = {name: found & MODULES.keys() - {name} for name, found in all_imports().items()}
    graphlib.TopologicalSorter(graph).prepare()
    graphlib.TopologicalSorter(ROOMS).prepare()


def test_a_room_imports_only_the_rooms_below_it() -> None:
    wrong = {}
    for name, imported in all_imports().items():
        own = room(name)
        found = {room(other) for other in imported if other.split(".")[0] == "wsdet"}
        wrong[name] = found - {own, *EVERYWHERE} - ROOMS.get(own, set())
    assert not {name: rooms for name, rooms in wrong.items() if rooms}


def who_imports(libraries: set[str], *rooms: str) -> list[str]:
    """The modules of these rooms, or of all, that import one of the libraries."""
    return [
        name
        for name, imported in all_imports().items()
        if (not rooms or room(name) in rooms) and {one.split(".")[0] for one in imported} & libraries
    ]


def test_only_programs_and_the_command_line_know_hydra() -> None:
    assert {room(name) for name in who_imports({"hydra", "omegaconf"})} <= PROGRAMS | {"cli"}


def test_a_localizer_never_touches_a_network() -> None:
    assert who_imports({"torch", "torchvision", "pytorch_lightning"}, "localizers") == []


def test_entry_points_import_nothing_slow() -> None:
    slow = ["torch", "torchvision", "pytorch_lightning", "hydra", "omegaconf", "sklearn", "scipy", "matplotlib", "timm"]
    program = (
        f"import importlib, sys\n"
        f"for name in {[f'wsdet.{program}' for program in sorted(PROGRAMS)]!r}:\n"
        f"    importlib.import_module(name)\n"
        f"    found = [slow for slow in {slow!r} if slow in sys.modules]\n"
        f"    sys.exit(f'{{name}} imports {{found}}') if found else None\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_nothing_that_runs_what_it_reads() -> None:
    assert who_imports({"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "lightning"}) == []
    for path in FILES:
        for node in ast.walk(tree_of(path)):
            where = f"{path}, line {getattr(node, 'lineno', 0)}"
            assert not isinstance(node, ast.Assert), f"{where}: assert belongs to tests"
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in {"eval", "exec", "compile", "yaml.load", "yaml.unsafe_load"}, where
                if called == "torch.load":
                    assert "weights_only=True" in ast.unparse(node), f"{where}: torch.load unpickles"
                if called in {"np.load", "numpy.load"}:
                    assert "allow_pickle=True" not in ast.unparse(node), f"{where}: np.load unpickles"


def test_every_file_says_its_idea() -> None:
    assert not [path for path in FILES if "utils" in path.stem]
    assert not [path for path in FILES if path.name != "__init__.py" and not ast.get_docstring(tree_of(path))]
