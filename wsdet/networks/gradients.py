"""Gradients of a frozen classifier: what its class scores and single neurons owe to pixels and to inner neurons.

While a pass is watched, every ReLU is computed out of place and, for guided backpropagation, with another backward
rule (Springenberg et al., ICLR 2015 workshop). Both are done where torch dispatches the function, not in the modules:
functional ReLUs follow as well, and nothing of the network has to be put back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from wsdet.networks.backbones import Backbone
from wsdet.questions import (
    ActivationMaps,
    GradientQuestion,
    GuidedBackprop,
    NetworkInput,
    NeuronRank,
    Neurons,
    PixelGradient,
    Question,
)
from wsdet.types import Floats, InputError, Ints

_RELUS = {F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Dropout, nn.Identity)


class Gradients:
    """Answers the questions about gradients.

    Args:
        backbone: in evaluation mode, without gradients of its weights; left exactly as it is.
        class_outputs: for each dataset class, the indices of the outputs that stand for it.
    """

    def __init__(self, backbone: Backbone, class_outputs: Sequence[Sequence[int]]) -> None:
        self.n_forward_passes = 0
        self.backbone = backbone
        self.class_outputs = class_outputs
        self._default_layer = last_map_layer(backbone)

    def answer(self, inputs: Sequence[NetworkInput]) -> list[Any]:
        """A row of answer for each input; all are of one batch key.

        Raises:
            InputError: there is no such layer, or it makes no map, or a neuron lies outside it.
        """
        self.n_forward_passes += len(inputs)
        questions = [one.question for one in inputs]
        with torch.inference_mode(False), torch.enable_grad():
            # views are made in inference mode, where nothing can be differentiated; stacked here, they can
            images = torch.stack([one.view.input for one in inputs]).requires_grad_()
            match questions[0]:
                case PixelGradient():
                    with _Relus(guided=False):
                        return list(_gradient(self._scores(self.backbone(images), questions), images))
                case GuidedBackprop(layer=layer):
                    return self._guided_backprop(images, layer, [question.neurons for question in questions])
                case NeuronRank(layer=layer, guided=guided):
                    maps = self._layer_maps(images, layer, questions, guided)
                    return [_best(m, question.k) for m, question in zip(maps, questions, strict=True)]
            return self._layer_maps(images, questions[0].layer, questions, guided=False)

    def assemble(self, question: Question, rows: Sequence[Any]) -> Any:
        """The one row; for `GuidedBackprop` of no neurons, an empty array."""
        side = self.backbone.input_size
        return rows[0] if len(rows) else np.zeros((0, 3, side, side), np.float32)

    def _guided_backprop(self, images: Tensor, layer: str | None, neurons: Sequence[Ints]) -> list[Floats]:
        """For each input (k, 3, s, s) guided gradients of its own k >= 1 neurons; one forward pass serves all."""
        with _Relus(guided=True), self._watched(layer) as seen:
            self.backbone(images)
            maps = self.backbone.as_map(self._last_output(seen, layer))
        places = np.concatenate(neurons)
        if (places < 0).any() or (places >= maps.shape[1:]).any():
            shape = tuple(maps.shape[1:])
            raise InputError(f"neurons of layer {layer!r} must lie in its map of {shape}, got {places.tolist()}")
        found: list[list[Floats]] = [[] for _ in neurons]
        for turn in range(max(len(own) for own in neurons)):
            having = [i for i, own in enumerate(neurons) if turn < len(own)]
            channels, rows, columns = np.stack([neurons[i][turn] for i in having]).T
            gradients = _gradient(maps[having, channels, rows, columns], images, is_last=False)
            for i in having:
                found[i].append(gradients[i])
        return [np.stack(own) for own in found]

    def _layer_maps(
        self, images: Tensor, layer: str | None, questions: Sequence[GradientQuestion], guided: bool
    ) -> list[ActivationMaps]:
        # the way back ends at the layer: what comes before it need not be remembered
        with _Relus(guided), self._watched(layer, is_end=True) as seen:
            scores = self._scores(self.backbone(images.detach()), questions)
            output = self._last_output(seen, layer)
            (gradient,) = _differentiated(scores, output)
        activations, gradients = (self.backbone.as_map(of).detach().float().cpu().numpy() for of in (output, gradient))
        return [ActivationMaps(*pair) for pair in zip(activations, gradients, strict=True)]

    def _scores(self, logits: Tensor, questions: Sequence[GradientQuestion]) -> Tensor:
        """(n,) scores before the softmax of the output that each question is about."""
        chosen = []
        for row, question in zip(logits.detach(), questions, strict=True):
            label = getattr(question, "label", -1)
            outputs = list(self.class_outputs[label]) if label >= 0 else []
            chosen.append(outputs[int(row[outputs].argmax())] if outputs else int(row.argmax()))
        return logits[torch.arange(len(logits)), chosen]

    @contextmanager
    def _watched(self, layer: str | None, is_end: bool = False) -> Iterator[list[Tensor]]:
        """A list that receives what the layer makes in each call; with `is_end`, gradients go back no further."""
        modules = dict(self.backbone.named_modules())
        name = layer or self._default_layer
        if name not in modules:
            raise InputError(
                f"layer must name a module of the network, such as {self._default_layer!r}, got {layer!r}; "
                f"it has {', '.join(list(modules)[1:8])}, ..."
            )
        seen: list[Tensor] = []

        def keep(_: nn.Module, __: Any, output: Any) -> Any:
            if is_end and isinstance(output, Tensor):
                output = output.detach().requires_grad_()
            seen.append(output)
            # the network goes on with a copy, so that a later layer working in place does not overwrite what is kept
            return output.clone() if isinstance(output, Tensor) else output

        handle = modules[name].register_forward_hook(keep)
        try:
            yield seen
        finally:
            handle.remove()

    def _last_output(self, seen: Sequence[Any], layer: str | None) -> Tensor:
        """The last thing that the layer made, a map or tokens: a residual block calls one ReLU several times."""
        if not seen or not isinstance(seen[-1], Tensor) or not self.backbone.is_map(seen[-1]):
            raise InputError(
                f"layer must make a map (n, channels, rows, columns) or tokens, {layer!r} does not; "
                f"name one such as {self._default_layer!r}"
            )
        return seen[-1]


def last_map_layer(backbone: Backbone) -> str:
    """Name of the module that makes the trunk's last map, before any pooling: in most networks, after its ReLU.

    In a transformer, the normalization before the last attention: what comes after it reaches a class token, off which
    the outputs may be read, from no other token.
    """
    names = [name for name, _ in backbone.named_modules()]
    if not backbone.is_convolutional:
        before_attention = [name for name in names if re.fullmatch(r"trunk\.timm\.blocks\.\d+\.norm1", name)]
        return before_attention[-1] if before_attention else "trunk.timm.norm"
    name, module = "trunk", backbone.trunk
    while isinstance(module, nn.Sequential):
        below = [(child, inner) for child, inner in module.named_children() if not isinstance(inner, _POOLS)]
        if not below:
            break
        name, module = f"{name}.{below[-1][0]}", below[-1][1]
    return name


def _gradient(scores: Tensor, inputs: Tensor, is_last: bool = True) -> Floats:
    """Of each input's own score with respect to `inputs`; zeros where the scores do not depend on them."""
    (gradient,) = _differentiated(scores, inputs, is_last)
    return gradient.float().cpu().numpy()


def _differentiated(scores: Tensor, inputs: Tensor, is_last: bool = True) -> tuple[Tensor, ...]:
    return torch.autograd.grad(
        scores.sum(), inputs, retain_graph=not is_last, allow_unused=True, materialize_grads=True
    )


def _best(maps: ActivationMaps, k: int) -> Neurons:
    """The k neurons of highest activation x effect (DAM, Eq. 3)."""
    ranks = maps.activations * maps.gradients
    order = np.argsort(-ranks, axis=None, kind="stable")[:k]
    places = np.stack(np.unravel_index(order, ranks.shape), axis=1)
    return Neurons(places.astype(np.int64), ranks.ravel()[order])


class _Relus(TorchFunctionMode):
    """While it is entered, ReLU and ReLU6 work out of place; with `guided`, they pass back positive gradients only."""

    def __init__(self, guided: bool) -> None:
        super().__init__()
        self.guided = guided

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        ceiling = _ceiling(func, args, kwargs or {})
        if ceiling is None:
            return func(*args, **(kwargs or {}))
        outputs = F.relu(args[0]) if ceiling == np.inf else F.hardtanh(args[0], 0.0, ceiling)
        return _PassPositive.apply(outputs) if self.guided else outputs


def _ceiling(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> float | None:
    """Largest value of a ReLU; None for any other function."""
    if func in _RELUS:
        return np.inf
    if func is F.relu6:
        return 6.0
    if func in (F.hardtanh, F.hardtanh_):
        low, high = _hardtanh_bounds(*args, **kwargs)
        return high if low == 0 else None
    return None


def _hardtanh_bounds(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> tuple[float, float]:
    return min_val, max_val


class _PassPositive(torch.autograd.Function):
    """After a ReLU, whose own backward pass is R * (f > 0): makes it R * (R > 0) * (f > 0)."""

    @staticmethod
    def forward(ctx: Any, outputs: Tensor) -> Tensor:
        return outputs.view_as(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0].clamp(min=0)
