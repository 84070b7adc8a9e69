"""The rules of the layout, read off the source: imports point one way, and some things appear nowhere."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "wsdet").rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
METHODS = {"localizers", "proposals", "detectors", "training"}  # each knows nothing of the others


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in FILES}


def is_entry_point(path: Path) -> bool:
    """Whether a module directly in wsdet/ ends in `if __name__ == "__main__"`."""
    last = TREES[path].body[-1] if TREES[path].body else None
    return path.parent == ROOT / "wsdet" and isinstance(last, ast.If) and "__main__" in ast.unparse(last.test)


ENTRY_POINTS = {module_name(path) for path in FILES if is_entry_point(path)}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(node: ast.AST, lazy: bool = True) -> Iterator[str]:
    """Modules that a tree imports when it runs; those inside functions too, if `lazy`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            names = (f"{child.module}.{alias.name}" for alias in child.names)
            yield from (name if name in MODULES else str(child.module) for name in names)
        elif not is_type_checking(child) and (lazy or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)):
            yield from imports(child, lazy)


def own_imports(path: Path) -> set[str]:
    """Modules of wsdet, without the leading `wsdet.`, that a file imports."""
    return {name.removeprefix("wsdet.") for name in imports(TREES[path]) if name.split(".")[0] == "wsdet"}


def without_program(path: Path) -> ast.Module:
    """A file but for the program around a stage, its `_run`, which may string stages together."""
    return ast.Module([node for node in TREES[path].body if getattr(node, "name", "") != "_run"], [])


def each_file(*below: str) -> list[Path]:
    """Files of these sub-packages; with no name, all."""
    return [path for path in FILES if not below or path.relative_to(ROOT / "wsdet").parts[0] in below]


def file_id(path: Path) -> str:
    return str(path.relative_to(ROOT / "wsdet"))


def test_there_is_something_to_check() -> None:
    assert {"wsdet.types", "wsdet.boxes", "wsdet.storage.box_store"} <= MODULES.keys()
    assert {"wsdet.localize", "wsdet.evaluate"} <= ENTRY_POINTS


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("types.py", set()),
        ("check.py", {"types"}),
        ("boxes.py", {"types"}),
        ("questions.py", {"types"}),
        ("storage/untrusted.py", {"types"}),
        ("storage/files.py", {"types"}),
        ("storage/provenance.py", {"types", "storage.files", "storage.untrusted"}),
        ("storage/box_store.py", {"types", "storage.files", "storage.provenance", "storage.untrusted"}),
    ],
)
def test_the_core_stands_on_little(name: str, allowed: set[str]) -> None:
    assert own_imports(ROOT / "wsdet" / name) <= allowed


def test_imports_have_no_cycle() -> None:
    graph = {name: set(imports(without_program(path))) & MODULES.keys() for name, path in MODULES.items()}
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("path", each_file("localizers"), ids=file_id)
def test_a_localizer_knows_only_boxes_and_questions(path: Path) -> None:
    assert {name.split(".")[0] for name in own_imports(path)} <= {
        "types",
        "check",
        "boxes",
        "questions",
        "linear_models",
        "vision",
        "localizers",
    }
    assert not {name.split(".")[0] for name in imports(TREES[path])} & {"torch", "torchvision", "pytorch_lightning"}


@pytest.mark.parametrize("path", each_file("data"), ids=file_id)
def test_a_reader_knows_no_method(path: Path) -> None:
    assert {name.split(".")[0] for name in own_imports(path)} <= {
        "types",
        "check",
        "boxes",
        "storage",
        "data",
        "formats",
    }


@pytest.mark.parametrize("path", each_file("metrics"), ids=file_id)
def test_a_metric_knows_only_boxes(path: Path) -> None:
    assert {name.split(".")[0] for name in own_imports(path)} <= {"types", "check", "boxes", "metrics"}


@pytest.mark.parametrize("path", each_file(*METHODS), ids=file_id)
def test_a_method_knows_no_other_kind_of_method(path: Path) -> None:
    own = path.relative_to(ROOT / "wsdet").parts[0]
    assert not {name.split(".")[0] for name in own_imports(path)} & (METHODS - {own} | {"metrics", "report"})


@pytest.mark.parametrize("path", each_file(), ids=file_id)
def test_only_entry_points_know_hydra_and_one_another(path: Path) -> None:
    if module_name(path) in ENTRY_POINTS or module_name(path).startswith("wsdet.cli."):
        return
    found = set(imports(TREES[path]))
    assert not {name.split(".")[0] for name in found} & {"hydra", "omegaconf"}
    assert not {name for name in found if name in ENTRY_POINTS or name.startswith("wsdet.cli")}


@pytest.mark.parametrize("name", sorted(ENTRY_POINTS - {"wsdet.train", "wsdet.doctor"}))
def test_no_stage_imports_another(name: str) -> None:
    """Only `train`, `doctor`, `wiring` and the program around a stage may string stages together."""
    assert not set(imports(without_program(MODULES[name]))) & {*ENTRY_POINTS, "wsdet.cli.factories"}


def test_entry_points_import_nothing_slow() -> None:
    slow = ["torch", "torchvision", "pytorch_lightning", "hydra", "omegaconf", "sklearn", "scipy", "matplotlib", "timm"]
    program = (
        f"import importlib, sys\n"
        f"for name in {sorted(ENTRY_POINTS)!r}:\n"
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
