from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from wsdet.cli.build import settings_of
from wsdet.cli.entry_point import CONF
from wsdet.sampling import limited

IDS = tuple(f"image {i}" for i in range(50))


@pytest.mark.parametrize("limit", [0, 50, 51])
def test_no_limit_gives_all_in_their_order(limit: int) -> None:
    assert limited(IDS, limit, seed=0) == IDS
    assert limited((), limit, seed=0) == ()


def test_a_larger_limit_grows_what_a_smaller_one_drew() -> None:
    drawn = [limited(IDS, limit, seed=3) for limit in range(1, 50)]
    for n_drawn, (smaller, larger) in enumerate(pairwise(drawn), start=1):
        assert len(set(smaller)) == n_drawn
        assert larger[:n_drawn] == smaller
    assert limited(IDS, 10, seed=4) != limited(IDS, 10, seed=3)


def test_settings_are_plain_values_with_references_resolved() -> None:
    cfg = OmegaConf.create({"seed": 3, "unused": 1, "localizer": {"seed": "${seed}", "scales": [1, 2]}, "kinds": ["a"]})
    settings = settings_of(cfg, "localizer", "seed", "kinds")
    assert settings == {"localizer": {"seed": 3, "scales": [1, 2]}, "seed": 3, "kinds": ["a"]}
    assert [type(value) for value in settings.values()] == [dict, int, list]


def test_configs_are_found() -> None:
    assert (CONF / "base.yaml").is_file()


def run_program(body: str, *overrides: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs `body` as the program of an entry point, in a process of its own as Hydra takes over logging."""
    imports = "from wsdet.cli.entry_point import entry_point\nfrom wsdet.types import InputError\n"
    program = f"{imports}{body}\nentry_point('base', run)"
    command = [sys.executable, "-c", program, *overrides]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=60, check=False)


def test_an_entry_point_writes_its_config_where_it_was_told(tmp_path: Path) -> None:
    body = "def run(cfg):\n    print(cfg.seed)"
    done = run_program(body, "out=here", "seed=7", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()) == (0, ["7"]), done.stderr
    written = OmegaConf.load(tmp_path / "here" / "config.yaml")
    assert (written.seed, Path(written.out)) == (7, tmp_path / "here")
    assert (tmp_path / "here" / "log.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("InputError('dog.jpg is truncated')", "dog.jpg is truncated"),
        ("OSError(28, 'disk full', 'x')", "disk full: 'x'"),
    ],
    ids=["input", "file system"],
)
def test_an_error_of_the_input_ends_without_traceback(tmp_path: Path, error: str, message: str) -> None:
    done = run_program(f"def run(cfg):\n    raise {error}", "out=here", cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert message in (tmp_path / "here" / "log.txt").read_text()
