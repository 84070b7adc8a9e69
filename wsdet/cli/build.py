"""What a config describes, made: objects by `_target_`, the network, plain settings.

Hydra is imported on call, so that `--help` answers at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wsdet.cli.validation import check_arguments
from wsdet.types import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def build(node: DictConfig | Mapping[str, Any], name: str, **arguments: Any) -> Any:
    """The object that a config node describes by `_target_`, with further keyword arguments.

    Raises:
        InputError: the class refuses its arguments; the message starts with the node's `name`, and the argument's.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else dict(node)
    _check_arguments(plain, name)
    try:
        # a root of its own, where places in Hydra's messages begin
        return instantiate(OmegaConf.create(plain), _convert_="all", **arguments)
    except InstantiationException as error:
        cause = error.__cause__
        inner = re.search(r"^full_key: (\S+)$", str(error), re.MULTILINE)
        place = f"{name}.{inner[1]}" if inner else name
        if isinstance(cause, InputError) and re.match(r"\w+(\[\S+\])? must ", str(cause)):
            raise InputError(f"{place}.{cause}") from error  # the argument is named as on the command line
        if isinstance(cause, InputError):
            raise cause from error
        if isinstance(cause, (ValueError, TypeError)):
            raise InputError(f"{place}: {cause}") from error
        raise


def _check_arguments(node: Any, name: str) -> None:
    """Whether the plain values of a node and of those inside it have the types that their classes take."""
    from hydra.utils import get_object

    if not isinstance(node, dict):
        return
    for key, value in node.items():
        _check_arguments(value, f"{name}.{key}")
    if "_target_" in node:
        try:
            target = get_object(node["_target_"])
        except Exception as error:  # importing runs an untrusted module, which may raise anything
            raise InputError(f"{name}._target_ names nothing that can be imported: {error}") from error
        check_arguments(target, {key: value for key, value in node.items() if key != "_target_"}, name)


def check_parts(cfg: DictConfig, *names: str) -> None:
    """Builds parts of a config and drops them: classes refuse impossible values, here before hours of work.

    Left out is what can only be built later: a center box whose size is learnt, proposals that a localizer makes.
    Weights that are trained first are done without.

    Raises:
        InputError: a class refuses its arguments.
    """
    from wsdet.storage.provenance import flatten

    for name, node in settings_of(cfg, *names).items():
        is_learnt = "width" in node and node["width"] is None and node["height"] is None
        if not is_learnt and not any("localizer" in key.split(".") for key in flatten(node)):
            untrained = node | {"weights": None} if node.get("weights") == "labels" else node
            build(untrained, name)


def settings_of(cfg: DictConfig, *keys: str) -> dict[str, Any]:
    """The resolved parts `keys` of a config as plain values: what a store's boxes depend on."""
    from omegaconf import OmegaConf

    return {
        key: OmegaConf.to_container(part, resolve=True) if OmegaConf.is_config(part := cfg[key]) else part
        for key in keys
    }


def as_yaml(cfg: DictConfig) -> str:
    """A whole config as text, its references resolved."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(cfg, resolve=True)
