"""Ours beside public packages that do the same, on the same photos and threads, with the same answers.

python scripts/bench_peers.py                          # pip install 'wsdet[peers]'; some minutes
python scripts/bench_peers.py --only captum torchcam --photos 4

A row gives the time of ours and of the peer, taken in turns in one process, and how far the answers are apart. Both get
float32, the same network, photos and number of threads. `--clock cpu` with OMP_NUM_THREADS=1 counts the process's own
time, for a busy machine. Packages that are missing are named.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from benchmark import (
    SQUEEZENET,
    VOC,
    as_pytorch_has_it,
    clock_of,
    parser_of,
    report,
    seconds_in_turns,
    start,
)
from stl_reference import SequentialStl

from wsdet.boxes import iou
from wsdet.data.voc import Voc
from wsdet.detectors.rcnn.detector import RcnnDetector
from wsdet.detectors.rcnn.features import RoiFeatures
from wsdet.detectors.rcnn.svm import SvmProblem, liblinear, newton_cg, objective
from wsdet.engine import localize_all
from wsdet.localizers.stl import Stl
from wsdet.networks.backbones import build_backbone
from wsdet.networks.classifier import Network
from wsdet.networks.gradients import last_map_layer
from wsdet.networks.imagenet_classes import IMAGENET_OUTPUTS
from wsdet.proposals.edge_boxes import EdgeBoxes
from wsdet.proposals.interleave import Interleave
from wsdet.proposals.selective_search import SelectiveSearch
from wsdet.questions import LayerMaps, Masked, NetworkInput, PixelGradient, Question, Whole
from wsdet.report.text_tables import table
from wsdet.types import Boxes, Floats, Sample

_OUTPUT = 0  # whose maps are made
_WINDOW, _STRIDE = 64, 32  # of occlusion, pixels of the network's input
_SEGMENTATIONS = (("lab", 400),)  # of the STL loop: few, since one input at a time is slow


@dataclass(frozen=True)
class Match:
    """Ours and a peer's way to one answer.

    Attributes:
        peer: the package.
        what: is computed.
        ours: computes it.
        theirs: the same, and its answer.
        apart: how far the two answers are from each other; None: they are different by nature.
        meaning: of that number.
    """

    peer: str
    what: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    apart: Callable[[Any, Any], float] | None = None
    meaning: str = "relative difference"


def matches(photos: list[Sample], classes: tuple[str, ...]) -> Iterator[Match]:
    """All that can be compared here."""
    ours, plain = _network(), as_pytorch_has_it(_network())
    yield stl_loop(ours, plain, photos[0])
    yield from maps(ours, plain, photos)
    yield linear_svm()
    yield selective_search(photos)
    yield detection(ours, photos, classes)


def _network() -> Network:
    """SqueezeNet with its own thousand classes; random weights, which cost the same, where the trained are not."""
    backbone = build_backbone("squeezenet1_0", weights=SQUEEZENET if SQUEEZENET.is_file() else None)
    return Network(backbone, [(c,) for c in range(IMAGENET_OUTPUTS)], device="cpu", precision="float32")


def stl_loop(ours: Network, plain: Network, photo: Sample) -> Match:
    """STL-CL by the engine, and one mask or crop at a time."""
    stl = Stl(segmentations=_SEGMENTATIONS)

    def by_engine() -> list[Boxes]:
        return [found for _, found in localize_all([(photo.image_id, photo)], stl, ours) if isinstance(found, Boxes)]

    def one_by_one() -> list[Boxes]:
        return [SequentialStl(plain, _SEGMENTATIONS).localize(photo)]

    return Match("a plain loop", "STL-CL of a photo", by_engine, one_by_one, _farthest_box, "pixels")


def maps(ours: Network, plain: Network, photos: list[Sample]) -> Iterator[Match]:
    """Class activation maps, gradients and occlusion."""
    views = [ours.prepare(photo) for photo in photos]
    inputs = [view.input.contiguous() for view in views]
    model = copy.deepcopy(plain.backbone)
    for module in model.modules():  # captum and torchcam want ReLUs that do not overwrite their input
        if isinstance(module, torch.nn.ReLU):
            module.inplace = False
    layer = last_map_layer(model)

    def ask(question: Question) -> list[Any]:
        return ours.answer([NetworkInput(view, question, 0) for view in views])

    if _is_installed("torchcam"):
        from torchcam.methods import GradCAM

        def by_torchcam() -> list[Floats]:
            with GradCAM(model, target_layer=layer, input_shape=tuple(inputs[0].shape)) as extract:
                found = []
                for input in inputs:
                    scores = model(input[None].clone().requires_grad_())
                    found.append(extract(_OUTPUT, scores, normalized=False)[0][0].detach().numpy())
            return found

        def by_maps() -> list[Floats]:
            answers = ask(LayerMaps(_OUTPUT))
            return [np.maximum(np.tensordot(one.gradients.mean(axis=(1, 2)), one.activations, 1), 0) for one in answers]

        yield Match("torchcam", "Grad-CAM maps", by_maps, by_torchcam, _difference)
    if _is_installed("captum"):
        from captum.attr import Occlusion, Saliency

        def by_saliency() -> list[Floats]:
            saliency = Saliency(model)
            return [
                saliency.attribute(input[None].clone().requires_grad_(), _OUTPUT, abs=False)[0].detach().numpy()
                for input in inputs
            ]

        def by_occlusion() -> list[Floats]:
            occlusion = Occlusion(model)
            window, step = (3, _WINDOW, _WINDOW), (3, _STRIDE, _STRIDE)
            return [
                occlusion.attribute(input[None], window, step, target=_OUTPUT, perturbations_per_eval=32)[0, 0]
                .detach()
                .numpy()
                for input in inputs
            ]

        yield Match("captum", "gradients at the pixels", lambda: ask(PixelGradient(_OUTPUT)), by_saliency, _difference)
        yield Match(
            "captum", "occlusion maps", lambda: [_occlusion(ours, photo) for photo in photos], by_occlusion, _difference
        )


def _occlusion(network: Network, photo: Sample) -> Floats:
    """(s, s) captum's map: the mean fall of the logit over the windows that hide each pixel."""
    side, (h, w) = network.input_size, photo.size_hw
    starts = np.arange(-(-(side - _WINDOW) // _STRIDE) + 1) * _STRIDE
    boxes = [(x, y, min(x + _WINDOW, side), min(y + _WINDOW, side)) for y in starts for x in starts]
    xyxy = np.array(boxes, np.float32) * np.array([w, h, w, h], np.float32) / side
    found: list[Any] = []

    class Ask:
        def localize(self, sample: Sample) -> Iterator[list[Question]]:
            answers = yield [Whole(), Masked(xyxy)]
            found.extend(answers)  # type: ignore[arg-type]
            return Boxes.empty()

    list(localize_all([(photo.image_id, photo)], Ask(), network))  # type: ignore[arg-type]
    whole, masked = found
    total, count = np.zeros((side, side), np.float32), np.zeros((side, side), np.float32)
    for (x1, y1, x2, y2), logit in zip(boxes, masked.logits[:, _OUTPUT], strict=True):
        total[y1:y2, x1:x2] += whole.logits[0, _OUTPUT] - logit
        count[y1:y2, x1:x2] += 1
    return total / count


def linear_svm() -> Match:
    """20 SVMs on 10,000 rows of 2,048 numbers; three of them by scikit-learn, which takes them one by one."""
    rng = np.random.default_rng(0)
    n, d, k, few = 10_000, 2_048, 20, 3
    x = torch.from_numpy(np.maximum(rng.normal(size=(n, d)), 0).astype(np.float32))
    x *= 20 / x.norm(dim=1).mean()
    targets = torch.full((n, k), -1, dtype=torch.int8)
    targets[torch.arange(n // 10), torch.arange(n // 10) % k] = 1
    problem = SvmProblem(x, targets, torch.full((k,), 1e-3), torch.full((k,), 1e-3))
    some = problem.columns(torch.arange(few))

    def above(mine: Any, theirs: Any) -> float:
        reached, peer = objective(some, mine.columns(torch.arange(few))), objective(some, theirs)
        return float(((reached - peer) / peer).max())

    return Match(
        "scikit-learn",
        f"{k} linear SVMs (LinearSVC: {few}, counted up)",
        lambda: newton_cg(problem),
        lambda: liblinear(some),
        above,
        "objective above theirs",
    )


def selective_search(photos: list[Sample]) -> Match:
    """Our Selective Search and OpenCV's, both "fast"."""
    ours = SelectiveSearch(max_boxes=0)

    def by_opencv() -> list[Floats]:
        found = []
        for photo in photos:
            search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
            search.setBaseImage(photo.pixels[:, :, ::-1].copy())
            search.switchToSelectiveSearchFast()
            xywh = np.asarray(search.process(), np.float32)
            found.append(np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1))
        return found

    def missed(mine: list[Floats], theirs: list[Floats]) -> float:
        return float(np.mean([(iou(b, a).max(axis=1) < 0.7).mean() for a, b in zip(mine, theirs, strict=True)]))

    return Match(
        "OpenCV",
        "Selective Search",
        lambda: [ours.propose(photo).xyxy for photo in photos],
        by_opencv,
        missed,
        "of theirs without one of ours at IoU 0.7",
    )


def detection(network: Network, photos: list[Sample], classes: tuple[str, ...]) -> Match:
    """Our R-CNN with its proposals, and torchvision's fastest Faster R-CNN; neither trained, which costs the same."""
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_fpn

    features = RoiFeatures(network)
    weights = np.random.default_rng(0).normal(size=(len(classes), features.dim)).astype(np.float32)
    detector = RcnnDetector(features, classes, weights, np.zeros(len(classes), np.float32))
    edges = EdgeBoxes(max_side=250, alpha=0.55, max_boxes=1000)
    source = Interleave({"edges": edges, "regions": SelectiveSearch(max_side=250, max_boxes=1000)})
    peer = fasterrcnn_mobilenet_v3_large_fpn(weights=None, weights_backbone=None, num_classes=len(classes) + 1).eval()

    def by_torchvision() -> None:
        with torch.inference_mode():
            for photo in photos:
                peer([torch.from_numpy(photo.pixels).permute(2, 0, 1).float() / 255])

    return Match(
        "torchvision",
        "detection: R-CNN and its proposals against fasterrcnn_mobilenet_v3_large_fpn at 800 pixels",
        lambda: [detector.detect(photo, source.propose(photo)) for photo in photos],
        by_torchvision,
    )


def main() -> None:
    """Prints the table, and writes the figures to `--json`."""
    options = _options()
    cv2.setNumThreads(torch.get_num_threads())
    machine, clock, dataset = start(options), clock_of(options), Voc(VOC)
    photos = [dataset.load(image_id) for image_id in dataset.ids("test")[: options.photos]]
    figures: dict[str, dict[str, Any]] = {}
    for match in matches(photos, dataset.classes):
        if options.only and match.peer not in options.only:
            continue
        apart = match.apart(match.ours(), match.theirs()) if match.apart else None
        seconds = seconds_in_turns({"ours": match.ours, "theirs": match.theirs}, clock, options.rounds)
        theirs = seconds["theirs"] * (20 / 3 if match.peer == "scikit-learn" else 1)
        figures[f"{match.peer}: {match.what}"] = {
            "seconds": seconds["ours"],
            "seconds_of_peer": theirs,
            "times_as_fast": theirs / seconds["ours"],
            "apart": apart,
            "apart_means": match.meaning if match.apart else "other answers",
        }
        print(f"{match.peer}: {match.what}: {theirs / seconds['ours']:.2f} times as fast", flush=True)
    missing = [name for name in ("captum", "torchcam") if not _is_installed(name)]
    if missing:
        print(f"not measured, not installed: {', '.join(missing)} (pip install 'wsdet[peers]')")
    headers = ["what", "ours, s", "peer, s", "times as fast", "apart", "which is"]
    print(table(headers, [[name, *list(one.values())] for name, one in figures.items()]))
    if options.json:
        report(options, machine, {"peers": figures, "missing": missing})


def _is_installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _difference(ours: list[Floats], theirs: list[Floats]) -> float:
    """|ours - theirs| / |theirs| over all maps."""
    a, b = (np.concatenate([np.ravel(one) for one in some]) for some in (ours, theirs))
    return float(np.linalg.norm(a - b) / max(float(np.linalg.norm(b)), 1e-12))


def _farthest_box(ours: list[Boxes], theirs: list[Boxes]) -> float:
    """The largest difference of a coordinate; infinite where the numbers of boxes differ."""
    if [len(boxes) for boxes in ours] != [len(boxes) for boxes in theirs]:
        return float("inf")
    return max(float(np.abs(a.xyxy - b.xyxy).max(initial=0)) for a, b in zip(ours, theirs, strict=True))


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--photos", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2, help="number of rounds, of which the best is reported")
    parser.add_argument("--only", nargs="+", help="these peers alone")
    return parser.parse_args()


if __name__ == "__main__":
    main()
