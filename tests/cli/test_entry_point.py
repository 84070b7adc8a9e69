from __future__ import annotations

import re
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests import programs
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


def run_program(body: str, *overrides: str, cwd: Path, config: str = "base") -> subprocess.CompletedProcess[str]:
    """Runs `body` as the program of an entry point, in a process of its own as Hydra takes over logging."""
    imports = "from wsdet.cli.entry_point import entry_point\nfrom wsdet.types import InputError\n"
    program = f"{imports}{body}\nentry_point({config!r}, run)"
    return programs.run(program, *overrides, cwd=cwd)


@pytest.mark.slow
def test_an_entry_point_writes_its_config_where_it_was_told(tmp_path: Path) -> None:
    body = "def run(cfg):\n    print(cfg.seed)"
    done = run_program(body, "out=here", "seed=7", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, printed, last = done.stdout.splitlines()
    assert first.endswith("INFO base: device=auto")
    assert printed == "7"
    assert re.search(r"INFO done: [\d.]+ s, \d+ MB of memory in this process$", last)
    written = OmegaConf.load(tmp_path / "here" / "config.yaml")
    assert (written.seed, Path(written.out)) == (7, tmp_path / "here")
    assert (tmp_path / "here" / "log.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


@pytest.mark.slow
def test_names_of_earlier_versions_are_taken_with_a_warning(tmp_path: Path) -> None:
    """On the command line and in a file of one's own."""
    (tmp_path / "localizer").mkdir()
    (tmp_path / "localizer" / "mine.yaml").write_text("defaults: [vote, _self_]\nsharpness: 3\n")
    body = "def run(cfg):\n    print(cfg.localizer.score_exponent, cfg.localizer.voting_exponent, cfg.localizer.keys())"
    overrides = ["data=synthetic", f"hydra.searchpath=[file://{tmp_path}]", "localizer=mine", "localizer.trust=0.5"]
    done = run_program(body, "out=here", *overrides, cwd=tmp_path, config="localize")
    assert done.returncode == 0, done.stderr
    assert "\n0.5 3 " in done.stdout
    assert "WARNING localizer.trust is now localizer.score_exponent; the next release will not take" in done.stdout
    assert "WARNING localizer.sharpness is now localizer.voting_exponent" in done.stdout
    written = OmegaConf.load(tmp_path / "here" / "config.yaml").localizer
    assert (written.score_exponent, written.voting_exponent) == (0.5, 3)
    assert not {"trust", "sharpness"} & set(written)


@pytest.mark.slow
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


def config_of(folder: Path) -> int:
    return int(OmegaConf.load(folder / "config.yaml").seed)


@pytest.mark.slow
def test_a_refused_run_leaves_the_config_and_says_what_it_changed(tmp_path: Path) -> None:
    body = (
        "def run(cfg):\n"
        "    from pathlib import Path\n"
        "    from wsdet.storage.provenance import check_settings\n"
        "    check_settings(Path(cfg.out, 'store'), {'images': 'x' if cfg.limit else 'y'})\n"
        "    if cfg.workers == 7: raise InputError('broken')\n"
    )
    assert run_program(body, "out=here", "seed=1", cwd=tmp_path).returncode == 0
    refused = run_program(body, "out=here", "seed=2", "limit=40", cwd=tmp_path)
    said = refused.stdout + refused.stderr
    assert refused.returncode == 1
    assert "images was y, is x (the images or their labels)" in said
    assert "Changed since the last run in this folder: seed was 1, is 2; limit was 0, is 40" in said
    assert config_of(tmp_path / "here") == 1
    assert run_program(body, "out=here", "seed=3", "workers=7", cwd=tmp_path).returncode == 1
    assert config_of(tmp_path / "here") == 1
    assert run_program(body, "out=here", "seed=4", cwd=tmp_path).returncode == 0
    assert config_of(tmp_path / "here") == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("out=", "out must be the name of a folder"),
        ("out=''", "out must be the name of a folder"),
        ("device=", "device must not be empty"),
        ("device=mps", "device must be auto, cpu, cuda or cuda:NUMBER, got 'mps'"),
        ("seed=18446744073709551616", "seed must be below 2^32"),
        ("~limit", "the setting limit is needed and was taken away; leave out ~limit"),
    ],
)
def test_slips_are_named_without_a_traceback(tmp_path: Path, override: str, says: str) -> None:
    done = run_program("def run(cfg):\n    print(cfg.limit, cfg.device)", "out=here", override, cwd=tmp_path)
    assert done.returncode == 1
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"here"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a=b", "it's (1)", "a,b{c}", "käse:d", "[x", "$5"])
def test_a_folder_of_any_name_can_be_given(tmp_path: Path, name: str) -> None:
    body = "def run(cfg):\n    print(cfg.shared)"
    done = run_program(body, "out=here", f"shared={name}", cwd=tmp_path, config="train")
    assert (done.returncode, done.stdout.splitlines()[1]) == (0, name), done.stderr


@pytest.mark.slow
def test_the_log_shows_no_control_characters(tmp_path: Path) -> None:
    warning = "import logging\n    logging.getLogger('wsdet').warning('class %s', '\\x1b]0;x\\x07 \\x1b[2J')"
    body = f"def run(cfg):\n    {warning}"
    done = run_program(body, "out=here", cwd=tmp_path)
    for said in (done.stdout + done.stderr, (tmp_path / "here" / "log.txt").read_text()):
        assert "\\x1b]0;x\\x07 \\x1b[2J" in said
        assert "\x1b" not in said


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_said_once(tmp_path: Path) -> None:
    body = (
        "def run(cfg):\n"
        "    import logging\n"
        "    logging.getLogger().handlers[-1].stream = open('/dev/full', 'w')\n"  # the log file's
        "    raise OSError(28, 'No space left on device', 'part')\n"
    )
    done = run_program(body, "out=here", cwd=tmp_path)
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Traceback" not in said
    assert "Logging error" not in said
    assert said.count("No space left") <= 1


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("when", ["early", "late"])
def test_a_stopped_program_says_how_to_go_on(tmp_path: Path, number: int, status: int, when: str) -> None:
    late = "import time\n    print('at work', flush=True)\n    time.sleep(60)"
    program = (
        "import hydra\nfrom wsdet.cli.entry_point import entry_point\n"
        "def run(cfg):\n    " + late + "\n"
        "def slow(**options):\n    import time\n    print('at work', flush=True)\n    time.sleep(60)\n"
        + ("hydra.main = slow\n" if when == "early" else "")
        + "entry_point('base', run)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, "out=here"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert "at work\n" in (child.stdout.readline(), child.stdout.readline() if when == "late" else "")
        child.send_signal(number)
        said = child.stdout.read()
    assert child.returncode == status
    assert "the same command goes on where this one stopped" in said
    assert "Traceback" not in said
