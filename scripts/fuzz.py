"""Coverage-guided fuzzing of every reader: whatever a file holds, the answer is data or an `InputError`.

    python scripts/fuzz.py [TARGET ...] [--seconds 600] [--corpus DIR] [--seed N]

Needs atheris (pip install atheris). A target is a table of cases: folders of whole files, each with what reads it. An
input exchanges the content of one file of one case, by bytes or by the structure of JSON, XML and text. Each target
runs in a process of its own; inputs that led to something new are kept in the corpus, where a next call goes on.
What breaks a reader is written as crash-* beside them, and named by its case and file: make it a test.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from fuzzing import images, layouts, models, proposals, runs
from fuzzing.case import Case
from fuzzing.mutation import mutated

from wsdet.types import InputError

TARGETS: dict[str, Callable[[], Sequence[Case]]] = {
    "images": images.cases,
    "layouts": layouts.cases,
    "proposals": proposals.cases,
    "stores": runs.stores,
    "runs": runs.runs,
    "corrections": runs.corrections,
    "models": models.cases,
}


def main() -> None:
    """Runs the targets one after the other; ends with status 1 if one broke."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=600, help="for each target")
    parser.add_argument("--corpus", type=Path, default=Path("fuzz_corpus"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        _fuzz(arguments.targets[0], arguments.seconds, arguments.corpus, arguments.seed)
        return
    broken = []
    for name in arguments.targets or TARGETS:
        command = [sys.executable, __file__, name, "--here", "--seed", str(arguments.seed)]
        command += ["--seconds", str(arguments.seconds), "--corpus", str(arguments.corpus / name)]
        print(f"--- {name}", flush=True)
        if subprocess.run(command, check=False).returncode:
            broken.append(name)
    print(f"{len(broken)} targets broke: {', '.join(broken)}" if broken else "no target broke")
    sys.exit(bool(broken))


def _fuzz(target: str, seconds: int, corpus: Path, seed: int) -> None:
    try:
        import atheris
    except ImportError:
        sys.exit("scripts/fuzz.py needs atheris: pip install atheris")
    corpus.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        with atheris.instrument_imports(include=["wsdet"]):
            inputs = _inputs(TARGETS[target](), Path(folder))
        for number, (_, _, content) in enumerate(inputs):
            (corpus / f"seed-{number}").write_bytes(bytes([number]) + content)

        def one(data: bytes) -> None:
            read, path, content = inputs[data[0] % len(inputs) if data else 0]
            path.unlink(missing_ok=True)  # it may be a link now
            path.write_bytes(data[1:])
            try:
                with suppress(InputError):
                    read()
            except Exception:
                print(f"{path} breaks its reader:\n{traceback.format_exc()}", flush=True)
                raise
            finally:
                path.write_bytes(content)

        def mutate(data: bytes, max_size: int, seed: int) -> bytes:
            number = data[0] % len(inputs) if data else 0
            content = mutated(data[1:], inputs[number][1].suffix, max_size - 1, seed, atheris.Mutate)
            return bytes([number]) + content

        options = [f"-max_total_time={seconds}", f"-artifact_prefix={corpus}/", "-timeout=20", "-rss_limit_mb=4096"]
        options += [f"-seed={seed}", "-print_final_stats=1"]
        options.append("-len_control=0")  # from the start inputs as long as the seeds: short ones are no files
        atheris.Setup([sys.argv[0], *options, str(corpus)], one, custom_mutator=mutate)
        atheris.Fuzz()


def _inputs(cases: Sequence[Case], folder: Path) -> list[tuple[Callable[[], object], Path, bytes]]:
    """For each file of each case: what reads the case, the file, its content. Whole files must be read."""
    inputs = []
    for case in cases:
        root = folder / case.name
        root.mkdir()
        case.write(root)
        read = case.reader(root)
        if read() is None:
            raise RuntimeError(f"{case.name}: the reader gives nothing for whole files")
        paths = sorted(path for path in root.rglob("*") if path.is_file())
        inputs += [(read, path, path.read_bytes()) for path in paths if case.is_changed(path.relative_to(root))]
    if len(inputs) > 256:
        raise RuntimeError(f"{len(inputs)} files; the first byte of an input names one of at most 256")
    return inputs


if __name__ == "__main__":
    main()
