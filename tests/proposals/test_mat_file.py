from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from wsdet.proposals.mat_file import check_mat


@pytest.mark.parametrize("compressed", [False, True])
def test_what_matlab_writes_passes(compressed: bool, tmp_path: Path) -> None:
    cells = np.empty((2, 1), object)
    cells[0, 0], cells[1, 0] = np.arange(12.0).reshape(3, 4), "text"
    content = {"a": cells, "b": {"field": np.int8(1)}, "long_name": np.zeros((0, 4)), "c": "x", "d": np.eye(3) > 0}
    scipy.io.savemat(tmp_path / "a.mat", content, do_compression=compressed)
    check_mat(tmp_path / "a.mat")


def written(tmp_path: Path) -> tuple[Path, bytearray]:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"boxes": np.arange(4.0).reshape(1, 4)})
    return path, bytearray(path.read_bytes())


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (126, b"XX", "no header"),
        (132, (10**6).to_bytes(4, "little"), "longer than what holds it"),
        (136, (26643).to_bytes(4, "little"), "type 26643, which there is not"),
        (168, (5 << 16 | 1).to_bytes(4, "little"), "longer than what holds it"),
    ],
    ids=["no header", "length", "type", "small element"],
)
def test_a_wrong_tag_is_refused(at: int, value: bytes, message: str, tmp_path: Path) -> None:
    path, content = written(tmp_path)
    content[at : at + len(value)] = value
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        check_mat(path)


def test_a_file_cut_short_or_nested_without_end_is_refused(tmp_path: Path) -> None:
    path, content = written(tmp_path)
    path.write_bytes(content[:-3])
    with pytest.raises(ValueError, match="longer than what holds it"):
        check_mat(path)
    tags = b"".join((14).to_bytes(4, "little") + (8 * deeper).to_bytes(4, "little") for deeper in range(99, -1, -1))
    path.write_bytes(bytes(content[:128]) + tags)
    with pytest.raises(ValueError, match="nested more than 16 deep"):
        check_mat(path)
