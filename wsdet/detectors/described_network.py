"""The network that a saved detector's `model.json` names. It may come from anyone, and is built within limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsdet.networks.backbones import Backbone, build_backbone, n_timm_parameters
from wsdet.storage import tensors
from wsdet.types import InputError

_MAX_HEAD = 100_000_000  # parameters of a network's head, which its file leaves out


def described_network(path: Path, network: Mapping[str, Any], weights: Path, max_input: int) -> Backbone:
    """The network with random weights.

    Args:
        path: of the `model.json`.
        network: what it says of the network: `architecture` and `input_size`.
        weights: the file that has those of the trunk; a network of timm must not be much larger than it.
        max_input: largest input size in pixels.

    Raises:
        InputError: the architecture or the input size is none, or too large.
    """
    architecture, input_size = network.get("architecture"), network.get("input_size")
    if not isinstance(architecture, str) or not isinstance(input_size, int) or not 32 <= input_size <= max_input:
        raise InputError(
            f"{path}: 'network' must name an architecture and an input_size from 32 to {max_input}, got "
            f"{architecture!r} and {input_size!r}; train the detector again"
        )
    if architecture.startswith("timm:"):
        _, there = tensors.describe(weights)
        n_there = sum(math.prod(shape) for _, shape in there.values())
        n_asked = n_timm_parameters(architecture.removeprefix("timm:"))
        if n_asked > 2 * n_there + _MAX_HEAD:
            raise InputError(f"{weights} has {n_there} numbers, {architecture} takes {n_asked}")
    return build_backbone(architecture, input_size=input_size)
