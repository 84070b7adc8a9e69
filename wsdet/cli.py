"""What every entry point shares: finding the configs, the run folder, and errors without tracebacks.

Imported by entry points alone. Hydra is imported on call, so the stages' functions import without it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsdet.types import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)

_PACKAGE = Path(__file__).resolve().parent
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
            _write_config(cfg, Path(HydraConfig.get().runtime.output_dir))
            run(cfg)
        except (InputError, OSError) as error:
            log.debug("traceback", exc_info=True)
            log.error("%s", error)
            sys.exit(1)
        except KeyboardInterrupt:
            log.error("interrupted; the same command goes on where this one stopped")
            sys.exit(130)

    main()


def settings_of(cfg: DictConfig, *keys: str) -> dict[str, Any]:
    """The resolved parts `keys` of a config as plain values: what a store's boxes depend on."""
    from omegaconf import OmegaConf

    return {
        key: OmegaConf.to_container(part, resolve=True) if hasattr(part := cfg[key], "keys") else part for key in keys
    }


def limited(ids: Sequence[str], limit: int, seed: int) -> tuple[str, ...]:
    """At most `limit` of `ids` (0: all), drawn by `seed`.

    A larger limit adds images and keeps those that a smaller one drew, in the same order, so results can grow.
    """
    import numpy as np

    if not limit or limit >= len(ids):
        return tuple(ids)
    return tuple(ids[i] for i in np.random.default_rng(seed).permutation(len(ids))[:limit])


def _write_config(cfg: DictConfig, folder: Path) -> None:
    from omegaconf import OmegaConf

    from wsdet.files import replacing

    with replacing(folder / "config.yaml") as beside:
        beside.write_text(OmegaConf.to_yaml(cfg, resolve=False), encoding="utf-8")
