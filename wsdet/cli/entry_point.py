"""What every entry point shares: finding the configs, the run folder, and errors without tracebacks.

Imported by entry points alone. Hydra is imported on call, so the stages' functions import without it.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wsdet.cli.allocator import keep_freed_memory
from wsdet.cli.build import build
from wsdet.cli.validation import OPTIONS, SETTINGS
from wsdet.storage.lock import check_writable, locked
from wsdet.types import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig


log = logging.getLogger(__name__)

_PACKAGE = Path(__file__).resolve().parents[1]
# a wheel carries the configs inside the package; a checkout has them beside it
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"


def entry_point(config_name: str, run: Callable[[DictConfig], None]) -> None:
    """Composes the config `config_name` with the command line's overrides and calls `run` with it.

    Writes `config.yaml` into the run folder (`out`) first. An `InputError` or an error of the file system ends the
    program with its message and exit status 1, without a traceback.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig

    @hydra.main(config_path=str(CONF), config_name=config_name, version_base="1.3")
    def main(cfg: DictConfig) -> None:
        try:
            _check(cfg)
            cfg.out = HydraConfig.get().runtime.output_dir  # of a multi-run, the folder of this job
            keep_freed_memory()
            # before torch is loaded: threads that wait for each other sleep, so that a machine shared with others
            # is not slowed down by those that spin
            os.environ.setdefault("OMP_WAIT_POLICY", "passive")
            with locked(Path(cfg.out)):
                _write_config(cfg, Path(cfg.out))
                with _shared_locked(cfg):
                    run(cfg)
        except (InputError, OSError) as error:
            log.debug("traceback", exc_info=True)
            log.error("%s", error)
            sys.exit(1)
        except KeyboardInterrupt:
            log.error("interrupted; the same command goes on where this one stopped")
            sys.exit(130)

    for given in sys.argv[1:]:
        if given.startswith("out="):  # Hydra writes there before it calls main, and would end in a traceback
            _check_writable_or_exit(given.removeprefix("out="))
    main()


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
            cfg = hydra.compose(config_name, list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)  # what names.* refer to
        with open_dict(cfg):
            del cfg["hydra"]
        _check(cfg)
        OmegaConf.resolve(cfg)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(str(error)) from error
    return cfg


def _check_writable_or_exit(out: str) -> None:
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
    with locked(folder, wait=True):
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


def _write_config(cfg: DictConfig, folder: Path) -> None:
    from omegaconf import OmegaConf

    from wsdet.storage.files import replacing

    with replacing(folder / "config.yaml") as beside:
        beside.write_text(OmegaConf.to_yaml(cfg, resolve=True), encoding="utf-8")
