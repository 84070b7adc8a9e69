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
from pathlib import Path

import pytest

EVERYWHERE = {"types", "check", "sampling", "progress", "version"}
VOCABULARY = EVERYWHERE | {"boxes", "questions", "engine"}
PROGRAMS = {"train", "localize", "propose", "detect", "evaluate", "export", "compare", "doctor", "review", "improve"}

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
    "questions": set(),
    "engine": {"questions"},
    # what knows no method
    "storage": set(),
    "vision": set(),
    "formats": {"boxes", "storage"},
    "data": {"boxes", "storage", "formats"},
    "metrics": {"boxes"},
    "linear_models": {"storage"},
    "networks": {"boxes", "questions", "storage"},
    # methods: each kind knows nothing of the others
    "localizers": {"boxes", "questions", "linear_models", "vision"},
    "proposals": {"boxes", "data", "storage", "vision"},
    "training": {"boxes", "data", "engine", "linear_models", "networks", "questions", "storage"},
    "detectors": {"boxes", "networks", "storage", "training"},  # the skeleton of every training
    # what strings them together
    "report": {"boxes", "data", "metrics", "questions", "storage"},
    "runners": {"storage"},
    "stages": VOCABULARY | {"data", "detectors", "formats", "localizers", "metrics", "networks", "proposals", "report"}
    | {"runners", "storage", "training"},
    "cli": {"stages", "storage"},
    **{program: {"cli", "stages", "storage", "report", "vision", "data", "detectors"} for program in PROGRAMS},
    # what a notebook imports
    "api": {"cli", "data", "detectors", "report", "stages", "storage"},
    "wsdet": {"api"},
}  # fmt: skip

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "wsdet").rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in FILES}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(node: ast.AST, lazy: bool = True) -> Iterator[str]:
    """Modules that a tree imports; those inside functions and for type checkers too, if `lazy`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            names = (f"{child.module}.{alias.name}" for alias in child.names)
            yield from (name if name in MODULES else str(child.module) for name in names)
        elif lazy or not (is_type_checking(child) or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)):
            yield from imports(child, lazy)


def room(module: str) -> str:
    """The room that a module is in; "wsdet" itself is one."""
    return module.split(".")[1] if "." in module else module


def each_file(*below: str) -> list[Path]:
    """Files of these sub-packages; with no name, all."""
    return [path for path in FILES if not below or path.relative_to(ROOT / "wsdet").parts[0] in below]


def file_id(path: Path) -> str:
    return str(path.relative_to(ROOT / "wsdet"))


def test_there_is_something_to_check() -> None:
    assert {"wsdet.types", "wsdet.boxes", "wsdet.storage.box_store"} <= MODULES.keys()


def test_the_package_itself_holds_the_vocabulary_and_the_programs_alone() -> None:
    directly = {name.removeprefix("wsdet.") for name in MODULES if MODULES[name].parent == ROOT / "wsdet"}
    assert directly == VOCABULARY | PROGRAMS | {"api", "wsdet"}
    assert {room(name) for name in MODULES} == ROOMS.keys()


def test_imports_have_no_circle() -> None:
    """Those for type checkers alone among them."""
    graph = {name: set(imports(TREES[path])) & MODULES.keys() - {name} for name, path in MODULES.items()}
    graphlib.TopologicalSorter(graph).prepare()
    graphlib.TopologicalSorter(ROOMS).prepare()


@pytest.mark.parametrize("path", each_file(), ids=file_id)
def test_a_room_imports_only_the_rooms_below_it(path: Path) -> None:
    own = room(module_name(path))
    found = {room(name) for name in imports(TREES[path]) if name.split(".")[0] == "wsdet"}
    assert found - {own, *EVERYWHERE} <= ROOMS.get(own, set())


@pytest.mark.parametrize("path", each_file(), ids=file_id)
def test_only_programs_and_the_command_line_know_hydra(path: Path) -> None:
    if room(module_name(path)) not in PROGRAMS | {"cli"}:
        assert not {name.split(".")[0] for name in imports(TREES[path])} & {"hydra", "omegaconf"}


@pytest.mark.parametrize("path", each_file("localizers"), ids=file_id)
def test_a_localizer_never_touches_a_network(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(TREES[path])} & {"torch", "torchvision", "pytorch_lightning"}


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


@pytest.mark.parametrize("path", each_file(), ids=file_id)
def test_nothing_that_runs_what_it_reads(path: Path) -> None:
    found = {name.split(".")[0] for name in imports(TREES[path])}
    assert not found & {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "lightning"}
    for node in ast.walk(TREES[path]):
        assert not isinstance(node, ast.Assert), f"line {node.lineno}: assert belongs to tests"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"eval", "exec", "compile", "yaml.load", "yaml.unsafe_load"}, f"line {node.lineno}"
            if called == "torch.load":
                assert "weights_only=True" in ast.unparse(node), f"line {node.lineno}: torch.load unpickles"
            if called in {"np.load", "numpy.load"}:
                assert "allow_pickle=True" not in ast.unparse(node), f"line {node.lineno}: np.load unpickles"


@pytest.mark.parametrize("path", each_file(), ids=file_id)
def test_every_file_says_its_idea(path: Path) -> None:
    assert "utils" not in path.stem
    assert path.name == "__init__.py" or ast.get_docstring(TREES[path])
