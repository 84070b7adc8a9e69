"""What every entry point shares: finding the configs, the run folder, and errors without tracebacks.

Imported by entry points alone. Hydra is imported on call, so the stages' functions import without it.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from wsdet.cli.allocator import keep_freed_memory
from wsdet.cli.build import as_yaml, build, settings_of
from wsdet.cli.validation import OPTIONS, SETTINGS
from wsdet.storage.amounts import amount, duration
from wsdet.storage.files import replacing
from wsdet.storage.lock import check_writable, locked
from wsdet.storage.memory import highest_bytes
from wsdet.storage.provenance import SettingsChanged, differences, flatten
from wsdet.storage.renamed import KEYS, renamed_config, renamed_override, renaming
from wsdet.storage.shard import Shard
from wsdet.storage.untrusted import read_yaml, shown
from wsdet.training import torchrun
from wsdet.types import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig


log = logging.getLogger(__name__)

_PACKAGE = Path(__file__).resolve().parents[1]
# a wheel carries the configs inside the package; a checkout has them beside it
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"
_PLACES = ("out", "shared")  # where, not what


def entry_point(
    config_name: str,
    run: Callable[[DictConfig], None],
    short: Mapping[str, str] = MappingProxyType({}),
    complete: Callable[[DictConfig], None] | None = None,
) -> None:
    """Composes the config `config_name` with the command line's overrides and calls `run` with it.

    Names of earlier versions are taken, with a warning; `short` has what the command line calls otherwise than the
    config, such as `proposals`, which Hydra would take for the group of that name. `complete` may change the config
    first, where some of it lies elsewhere.

    `config.yaml` in the run folder (`out`) is written first where there is none, else when the run is through: what
    lies there is of the settings that it says. An `InputError` or an error of the file system ends the program with
    its message and exit status 1, without a traceback; an interrupt with 130, and a termination with 143.
    """
    try:
        signal.signal(signal.SIGTERM, _terminate)  # also keeps Lightning from handling it, with words of its own
        _hydra_main(config_name, run, short, complete)()
    except KeyboardInterrupt:
        sys.exit(_interrupted("interrupted", 130))


def _hydra_main(
    config_name: str,
    run: Callable[[DictConfig], None],
    short: Mapping[str, str],
    complete: Callable[[DictConfig], None] | None,
) -> Callable[[], None]:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

    @hydra.main(config_path=str(CONF), config_name=config_name, version_base="1.3")
    def main(cfg: DictConfig) -> None:
        _log_plainly()
        for old in old_names:
            log.warning("%s", renaming(old))
        try:
            cfg = _with_current_names(cfg)
            _check(cfg)
            cfg.out = HydraConfig.get().runtime.output_dir  # of a multi-run, the folder of this job
            if complete is not None:
                complete(cfg)
            keep_freed_memory()
            # before torch is loaded: threads that wait for each other sleep, so that a machine shared with others
            # is not slowed down by those that spin
            os.environ.setdefault("OMP_WAIT_POLICY", "passive")
            if torchrun.rank():
                torchrun.follow()
            else:
                with run_folder(cfg), _summed_up(config_name, cfg), torchrun.leading():
                    run(cfg)
        except (ConfigAttributeError, ConfigKeyError) as error:
            log.debug("traceback", exc_info=True)
            log.error("the setting %s is needed and was taken away; leave out ~%s", error.full_key, error.full_key)
            sys.exit(1)
        except (InputError, OSError, OmegaConfBaseException) as error:
            log.debug("traceback", exc_info=True)
            log.error("%s", error)
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(_interrupted("interrupted", 130))

    given = [_renamed(argument, short) for argument in sys.argv[1:]]
    sys.argv[1:], old_names = [_quoted(argument) for argument, _ in given], [old for _, old in given if old]
    for argument in sys.argv[1:]:
        if argument.startswith("out="):  # Hydra writes there before it calls main, and would end in a traceback
            _check_writable_or_exit(argument.removeprefix("out="))
    return main


def _renamed(argument: str, short: Mapping[str, str]) -> tuple[str, str | None]:
    """An argument of the command line as the config calls it, and the old name if it was one."""
    key, equals, value = argument.partition("=")
    new = renamed_override(argument)
    return f"{short[key]}={value}" if equals and key in short else new, key.lstrip("+~") if new != argument else None


def _with_current_names(cfg: DictConfig) -> DictConfig:
    """The config with today's names, of which files of a person may hold others."""
    from omegaconf import OmegaConf

    plain: dict[str, Any] = OmegaConf.to_container(cfg)  # type: ignore[assignment]
    old_names = [key for key in flatten(plain) if "." in key and key.rpartition(".")[2] in KEYS]
    for old in old_names:
        log.warning("%s", renaming(old))
    return OmegaConf.create(renamed_config(plain), flags={"struct": True}) if old_names else cfg


@contextmanager
def _summed_up(program: str, cfg: DictConfig) -> Iterator[None]:
    """Says at the start what is about to be done, and at the end what it took."""
    start, names = time.perf_counter(), cfg.get("names", {})
    parts = [f"{part}={names[part]}" for part in ("data", "network") if part in names]
    own = ("model", "images") if program == "detect" else ()  # elsewhere images= says how they are exported
    parts += [f"{key}={cfg[key]}" for key in (*own, "device") if cfg.get(key) is not None]
    log.info("%s: %s", program, ", ".join(parts))
    yield
    log.info("done: %s, %s of memory in this process", duration(time.perf_counter() - start), amount(highest_bytes()))


def shard_of(cfg: DictConfig) -> Shard | None:
    """The shard that this process is of the run; None: it does all."""
    return Shard.of_text(cfg.shard, Path(cfg.out)) if cfg.get("shard") is not None else None


@contextmanager
def _locked(cfg: DictConfig) -> Iterator[None]:
    """One process at a time works in the run folder, or shards, each once."""
    shard = shard_of(cfg)
    with ExitStack() as locks:
        locks.enter_context(locked(Path(cfg.out), shard=shard is not None))
        if shard is not None:
            check_writable(shard.own_folder)
            locks.enter_context(locked(shard.own_folder))
        yield


def _terminate(*_: object) -> None:
    if multiprocessing.parent_process() is not None:  # a worker, which has inherited this
        os._exit(128 + signal.SIGTERM)
    sys.exit(_interrupted("terminated", 128 + signal.SIGTERM))


def _interrupted(how: str, status: int) -> int:
    message = f"{how}; the same command goes on where this one stopped"
    if logging.getLogger().handlers:
        log.error(message)
    else:  # before there is a log
        sys.stderr.write(message + "\n")
    return status


def _quoted(argument: str) -> str:
    """`key=value` in Hydra's quotes where its grammar cannot read the value, such as out=runs/seed=1 or it's."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, equals, value = argument.partition("=")
    if not equals or not re.fullmatch(r"\+{0,2}[\w@./-]+", key) or key.startswith("--"):
        return argument
    parser = OverridesParser.create()
    try:
        parser.parse_override(argument)
    except HydraException:
        escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
        quoted = f"{key}='{escaped}'"
        try:
            parser.parse_override(quoted)
        except HydraException:
            return argument  # Hydra says what is wrong
        return quoted
    return argument


class _PlainFormatter(logging.Formatter):
    """A formatter whose text no control character gets through, but for the ends of lines and tabs."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(
            "\t".join(shown(part) for part in line.split("\t")) for line in self._inner.format(record).split("\n")
        )


def _log_plainly() -> None:
    """Makes names from anywhere harmless in the log, and keeps a full disk from printing tracebacks of the log."""
    if torchrun.rank():  # the first process says it all
        logging.getLogger().setLevel(logging.WARNING)
    logging.raiseExceptions = False
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_PlainFormatter(handler.formatter or logging.Formatter()))


@contextmanager
def run_folder(cfg: DictConfig) -> Iterator[None]:
    """The folder `out` (and `shared`, where it is another) to itself, with a `config.yaml` that stays true.

    Raises:
        InputError: nothing can be written there, or another process works there.
    """
    check_writable(Path(cfg.out))
    with _locked(cfg), _recorded(cfg), _shared_locked(cfg):
        yield


@contextmanager
def _recorded(cfg: DictConfig) -> Iterator[None]:
    """Keeps `config.yaml` true: of what the run left, also after one that was refused or broken off."""
    path = Path(cfg.out, "config.yaml")
    before = path.is_file()
    if not before:
        _write_config(cfg, path)
    try:
        yield
    except SettingsChanged as error:
        raise InputError(f"{error}{_changes(path, cfg) if before else ''}") from error
    if before:
        _write_config(cfg, path)


def _changes(path: Path, cfg: DictConfig) -> str:
    """What a command changed since the run that wrote a config."""
    try:
        there, now = read_yaml(path), settings_of(cfg, *cfg)
    except InputError:
        return ""
    changes = differences(renamed_config(there), now) if isinstance(there, dict) else []
    named = [f"{key} was {shown(old)}, is {shown(new)}" for key, old, new in changes if key not in _PLACES]
    return f". Changed since the last run in this folder: {'; '.join(named[:8])}" if named else ""


def compose(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """The config that an entry point would run with, without running it or writing anything.

    Raises:
        InputError: an override is not possible, or a setting without default is not given.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf import OmegaConf, open_dict
    from omegaconf.errors import OmegaConfBaseException

    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = hydra.compose(config_name, list(map(renamed_override, overrides)), return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)  # what names.* refer to
        with open_dict(cfg):
            del cfg["hydra"]
        cfg = _with_current_names(cfg)
        _check(cfg)
        OmegaConf.resolve(cfg)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(str(error)) from error
    return cfg


def _check_writable_or_exit(out: str) -> None:
    if not out.strip("'\" "):
        sys.exit("out must be the name of a folder, got nothing; out=. is the current one")
    if any(character in out for character in "'\"$,"):  # Hydra's to interpret
        return
    try:
        check_writable(Path(out))
    except InputError as error:
        sys.exit(str(error))


@contextmanager
def _shared_locked(cfg: DictConfig) -> Iterator[None]:
    """Runs that share a folder take turns: what the first computes is there for the second."""
    folder = Path(cfg.get("shared", cfg.out))
    if folder.resolve() == Path(cfg.out).resolve():  # it has that lock already
        yield
        return
    check_writable(folder, "shared")
    with locked(folder, wait=True, shard=cfg.get("shard") is not None):
        yield


def _check(cfg: DictConfig) -> None:
    """Every setting is there, and those of all entry points are possible: said before any work starts."""
    from omegaconf import OmegaConf

    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise InputError(f"{missing[0]} has no default; give it as {missing[0]}=VALUE")
    for name, check in SETTINGS.items():
        if name in cfg:
            check(**{name: OmegaConf.to_container(cfg[name]) if OmegaConf.is_config(cfg[name]) else cfg[name]})
    for name in OPTIONS:
        if name in cfg:
            build(cfg[name], name)
    if torchrun.rank() is not None and "num_nodes" not in cfg.get("trainer", {"num_nodes": 1}):
        raise InputError("trainer must train by the processes that torchrun has started: give trainer=torchrun")
    root = OmegaConf.select(cfg, "data.root")
    if isinstance(root, str) and not root.strip():
        raise InputError("data.root must not be empty; data.root=. is the current folder")


def _write_config(cfg: DictConfig, path: Path) -> None:
    shard, whole = shard_of(cfg), cfg.copy()
    if shard is not None:
        whole.shard = None  # what lies there is of all shards
    with shard.alone("config") if shard else nullcontext(), replacing(path) as beside:
        beside.write_text(as_yaml(whole), encoding="utf-8")
