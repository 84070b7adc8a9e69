"""Files of tensors: their bytes depend on what is written alone, and what is read is checked first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from wsdet.storage import tensors
from wsdet.types import InputError

ROOT = Path(__file__).resolve().parents[2]
ARRAYS = {
    "weights": np.arange(6, dtype=np.float32).reshape(2, 3),
    "count": np.array(7),
    "halves": np.ones((2, 0), np.float16),
    "flags": np.array([True, False]),
}
LOADS: list[Callable[..., tuple[dict[str, Any], dict[str, Any]]]] = [tensors.load, tensors.load_torch]


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("convert", [lambda value: value, torch.from_numpy], ids=["numpy", "torch"])
def test_what_is_saved_comes_back(tmp_path: Path, load: Any, convert: Any) -> None:
    header = {"format": "test 1", "classes": ["ç", "a"], "deep": {"b": None, "a": [1, 2.5]}}
    tensors.save(tmp_path / "new" / "a", {name: convert(value) for name, value in ARRAYS.items()}, header)
    found, said = load(tmp_path / "new" / "a", "test 1")
    assert said == header
    assert found.keys() == ARRAYS.keys()
    for name, value in ARRAYS.items():
        there = np.asarray(found[name])
        assert (there.shape, there.dtype) == (value.shape, value.dtype)
        assert np.array_equal(there, value)
    _, described = tensors.describe(tmp_path / "new" / "a")
    assert described["weights"] == ("F32", (2, 3))


def test_a_transposed_array_is_written_as_it_reads(tmp_path: Path) -> None:
    tensors.save(tmp_path / "a", {"x": ARRAYS["weights"].T}, {})
    assert np.array_equal(tensors.load(tmp_path / "a")[0]["x"], ARRAYS["weights"].T)


def test_bytes_do_not_depend_on_the_process(tmp_path: Path) -> None:
    program = (
        "import sys, numpy, pathlib; from wsdet.storage import tensors\n"
        "header = dict.fromkeys({'format', 'classes', 'seed', 'settings', 'grid'}, 1)\n"  # a set: in any order
        "tensors.save(pathlib.Path(sys.argv[1]), {n: numpy.zeros(2) for n in {'a', 'b', 'c', 'd'}}, header)\n"
    )
    contents = set()
    for seed in range(4):
        environment = os.environ | {"PYTHONHASHSEED": str(seed), "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", program, tmp_path / "a"], env=environment, check=True, timeout=60)
        contents.add((tmp_path / "a").read_bytes())
    assert len(contents) == 1


def test_half_precision_of_torch_is_read(tmp_path: Path) -> None:
    from safetensors.torch import save_file as save_torch

    save_torch({"x": torch.tensor([1.5], dtype=torch.bfloat16)}, tmp_path / "a")
    assert tensors.load_torch(tmp_path / "a")[0]["x"].tolist() == [1.5]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_neither_written_nor_read(tmp_path: Path, dtype: Any, value: float) -> None:
    path, array = tmp_path / "a", np.array([1, value, 2], dtype)
    with pytest.raises(InputError, match="'x' are not finite"):
        tensors.save(path, {"x": array}, {})
    assert not path.exists()
    save_file({"x": array}, path)
    for load in LOADS:
        with pytest.raises(InputError, match=f"{path}: values in 'x' are not finite"):
            load(path)
    if not np.isnan(value):
        tensors.save(path, {"x": array}, {}, infinite=("x",))
        assert tensors.load(path, infinite=("x",))[0]["x"][1] == value


def test_largest_values_are_finite(tmp_path: Path) -> None:
    arrays = {np.dtype(dtype).name: np.array([np.finfo(dtype).max]) for dtype in (np.float16, np.float32, np.float64)}
    tensors.save(tmp_path / "a", arrays, {})
    assert tensors.load(tmp_path / "a")[0] == arrays


def with_description(text: str | bytes, n_bytes: int | None = None, data: bytes = b"") -> bytes:
    content = text.encode() if isinstance(text, str) else text
    return (len(content) if n_bytes is None else n_bytes).to_bytes(8, "little") + content + data


def one(dtype: str = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> str:
    return json.dumps({"x": {"dtype": dtype, "shape": shape, "data_offsets": offsets}})


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        b"text",
        with_description("{}", 2**40),
        with_description("{}", 2**63),
        with_description(b"\xff"),
        with_description("["),
        with_description("[]"),
        with_description('{"x": ' * 1000),
        with_description('{"x": 1}'),
        with_description('{"x": {}}'),
        with_description(one()),  # no data
        with_description(one(offsets=(0, 2**62))),
        with_description(one(shape=(2**62,))),
        with_description(one(shape=(2**40, 0), offsets=(0, 0))),
        with_description(one(shape=(-1,))),
        with_description(one(shape="many")),
        with_description(one("F8_E4M3", offsets=(0, 1)), data=b"0"),
        with_description(one("nonsense"), data=b"0000"),
        with_description(one(offsets=(4, 0)), data=b"0000"),
        with_description('{"__metadata__": {"wsdet": "{"}}'),
        with_description('{"__metadata__": {"wsdet": "[]"}}'),
        with_description('{"__metadata__": {"wsdet": 3}}'),
        with_description('{"__metadata__": []}'),
        with_description('{"__metadata__": {"wsdet": ' + json.dumps("[" * 500 + "]" * 500) + "}}"),
        with_description('{"__metadata__": {"wsdet": ' + json.dumps('{"a": "\\ud800"}') + "}}"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, load: Any, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(InputError, match=f"^{tmp_path}/a "):
        load(tmp_path / "a")


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    tensors.save(path, ARRAYS, {"format": "test 1"})
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="no readable file of tensors"):
            tensors.load(path)


def test_another_format_is_named(tmp_path: Path) -> None:
    tensors.save(tmp_path / "a", ARRAYS, {"format": "wsdet region classifier 2"})
    with pytest.raises(InputError, match="no 'wsdet box regressor 3': its format is 'wsdet region classifier 2'"):
        tensors.load(tmp_path / "a", "wsdet box regressor 3")
    save_file(ARRAYS, tmp_path / "b")
    with pytest.raises(InputError, match="does not say its format"):
        tensors.load(tmp_path / "b", "wsdet box regressor 3")


def test_nothing_else_in_the_package_reads_or_writes_safetensors() -> None:
    others = [path for path in (ROOT / "wsdet").rglob("*.py") if path.name != "tensors.py"]
    users = [
        path.name for path in others if "import safetensors" in (text := path.read_text()) or "from safetensors" in text
    ]
    assert users == []
