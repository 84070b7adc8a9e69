"""What each source of proposals costs and finds, on VOC 2007 test photos.

python scripts/bench_proposals.py                      # 100 photos, some minutes
python scripts/bench_proposals.py --images 500 --edge-model model.yml.gz --json proposals.json

Recall is the share of all objects that are not difficult, pooled over the photos, which some box overlaps by at least
0.5, 0.75 or 0.9, among all boxes and among the first 400, which localizer=vote and wsddn look at. Time is the process's
own on one thread; the sources take turns photo by photo, so a busy machine slows all of them alike, and what counts is
the ratio to `selective_search`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from benchmark import SHARED, VOC, parser_of, processor

from wsdet.boxes import iou, scale, segments_to_xyxy
from wsdet.data.voc import Voc
from wsdet.proposals.bing import Bing
from wsdet.proposals.edge_boxes import EdgeBoxes
from wsdet.proposals.grouping import COLOR_BINS, color_bins, group, histograms
from wsdet.proposals.interleave import Interleave
from wsdet.proposals.ordering import distinct
from wsdet.proposals.selective_search import SelectiveSearch
from wsdet.report.text_tables import table
from wsdet.types import Boxes, Floats, ProposalSource, Sample
from wsdet.vision.resizing import shrunk
from wsdet.vision.segmentation import in_color_space

IOUS = (0.5, 0.75, 0.9)
FIRST = 400
REFERENCE = "selective_search"


class Superpixels:
    """Superpixels of OpenCV, grouped as Selective Search groups its segments, and patches of a grid.

    Args:
        kind: "slic", or "patches": squares that know nothing of the image.
        side: of a superpixel in pixels.
        max_side: see `SelectiveSearch`.
    """

    def __init__(self, kind: str, side: int = 12, max_side: int = 250) -> None:
        self.kind = kind
        self.side = side
        self.max_side = max_side

    def propose(self, sample: Sample) -> Boxes:
        """Boxes of all groups, the largest first."""
        image = shrunk(sample.pixels, self.max_side)
        lab = in_color_space(image, "lab")
        segments = self._segments(lab)
        colors = histograms(segments, color_bins(lab), COLOR_BINS)
        found = [group(segments, [colors], size=True, fill=fill)[::-1] for fill in (True, False)]
        xyxy = np.concatenate([segments_to_xyxy(segments), *found])
        xyxy = xyxy[distinct(xyxy)]
        return Boxes(scale(xyxy, image.shape[:2], sample.size_hw))

    def _segments(self, lab: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        if self.kind == "patches":
            h, w = lab.shape[:2]
            columns = -(-w // self.side)
            return (np.arange(h) // self.side)[:, None] * columns + np.arange(w) // self.side
        slic = cv2.ximgproc.createSuperpixelSLIC(lab, cv2.ximgproc.SLICO, self.side)
        slic.iterate(5)
        slic.enforceLabelConnectivity(25)
        return np.unique(slic.getLabels(), return_inverse=True)[1].reshape(lab.shape[:2]).astype(np.int64)


class OpenCvSelectiveSearch:
    """OpenCV's own, "fast"."""

    def propose(self, sample: Sample) -> Boxes:
        """In its own order, which no seed fixes."""
        search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
        search.setBaseImage(sample.pixels[:, :, ::-1].copy())
        search.switchToSelectiveSearchFast()
        xywh = np.asarray(search.process(), np.float32)
        return Boxes(np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1))


def sources(bing: Path, edge_model: Path | None, quality: bool) -> Iterator[tuple[str, ProposalSource]]:
    """What is measured, by name."""
    yield REFERENCE, SelectiveSearch()
    yield "selective_search, OpenCV's own", OpenCvSelectiveSearch()
    yield "selective_search, 350 pixels", SelectiveSearch(max_side=350)
    yield "selective_search, 250 pixels", SelectiveSearch(max_side=250)
    yield "selective_search, lab", SelectiveSearch(color_spaces=("lab",))
    yield "selective_search, k 50, CTSF", SelectiveSearch(ks=(50,), similarities=("CTSF",))
    yield "selective_search, 250 pixels, k 50", SelectiveSearch(max_side=250, ks=(50,))
    yield "edge_boxes, gradients", EdgeBoxes()
    yield "edge_boxes, gradients, 250 pixels", EdgeBoxes(max_side=250)
    yield "edge_boxes, gradients, 250 pixels, alpha .55", EdgeBoxes(max_side=250, alpha=0.55)
    if edge_model:
        yield "edge_boxes, learned edges", EdgeBoxes(str(edge_model))
        yield "edge_boxes, learned edges, 250 pixels", EdgeBoxes(str(edge_model), max_side=250)
    yield "superpixels (SLIC) grouped", Superpixels("slic")
    yield "patches grouped", Superpixels("patches")
    if bing.is_dir():
        yield "bing", Bing(bing)
    edges = EdgeBoxes(max_side=250, alpha=0.55, max_boxes=1000)
    small = {"edges": edges, "regions": SelectiveSearch(max_side=250, ks=(50,))}
    yield "fast, k 50 alone", Interleave(small)
    yield "fast", Interleave({"edges": edges, "regions": SelectiveSearch(max_side=250, max_boxes=1000)})
    if quality:
        yield (
            "selective_search_quality",
            SelectiveSearch(
                color_spaces=("hsv", "lab", "rgi", "h", "intensity"),
                ks=(50, 100, 150, 300),
                similarities=("CTSF", "TSF", "F", "S"),
                max_boxes=10000,
            ),
        )


def best_overlaps(found: Boxes, objects: Floats) -> Floats:
    """(2, m) best IoU of any box with each of m objects: among all boxes, and among the first."""
    overlaps = iou(objects, found.xyxy)
    return np.stack([overlaps.max(axis=1, initial=0), overlaps[:, :FIRST].max(axis=1, initial=0)])


def main() -> None:
    """Prints the table, and writes the figures to `--json`."""
    options = _options()
    cv2.setNumThreads(1)
    dataset = Voc(options.voc)
    ids = dataset.ids("test")[: options.images]
    every = sources(options.bing, options.edge_model, options.quality)
    chosen = {name: source for name, source in every if _wanted(name, options)}
    seconds, n_boxes = dict.fromkeys(chosen, 0.0), dict.fromkeys(chosen, 0)
    overlaps: dict[str, list[Floats]] = {name: [] for name in chosen}
    for image_id in ids:
        sample, true = dataset.load(image_id), dataset.truth[image_id]
        for name, source in chosen.items():
            begin = time.process_time()
            found = source.propose(sample)
            seconds[name] += time.process_time() - begin
            n_boxes[name] += len(found)
            overlaps[name].append(best_overlaps(found, true.xyxy[~true.difficult]))
    figures = {}
    for name in chosen:
        best = np.concatenate(overlaps[name], axis=1)
        figures[name] = {
            "milliseconds": 1e3 * seconds[name] / len(ids),
            "share_of_selective_search": seconds[name] / seconds[REFERENCE],
            "boxes": n_boxes[name] / len(ids),
            "recall": [float((best[0] >= at).mean()) for at in IOUS],
            "recall_of_first": [float((best[1] >= at).mean()) for at in IOUS],
            "average_best_overlap": float(best[0].mean()),
        }
    print(f"{len(ids)} photos, {best.shape[1]} objects")
    print(markdown(figures))
    if options.json:
        measured = {"processor": processor(), "images": len(ids), "sources": figures}
        options.json.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


def markdown(figures: dict[str, dict[str, object]]) -> str:
    """The table of docs/proposals.md."""
    headers = ["proposals", "ms", "share", "boxes", "recall .5", ".75", ".9", "first 400: .5", ".75", ".9", "overlap"]
    return table(
        headers,
        [
            [
                name,
                f"{one['milliseconds']:.0f}",
                f"{one['share_of_selective_search']:.2f}",
                f"{one['boxes']:.0f}",
                *one["recall"],  # type: ignore[misc]
                *one["recall_of_first"],  # type: ignore[misc]
                one["average_best_overlap"],
            ]
            for name, one in figures.items()
        ],
    )


def _wanted(name: str, options: argparse.Namespace) -> bool:
    return name == REFERENCE or not options.sources or name in options.sources


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--voc", type=Path, default=VOC)
    parser.add_argument("--bing", type=Path, default=SHARED / "models" / "BING", help="folder of OpenCV's BING model")
    parser.add_argument("--edge-model", type=Path, help="OpenCV's structured-edge model, model.yml.gz")
    parser.add_argument("--quality", action="store_true", help="selective_search_quality too, at five times the time")
    parser.add_argument("--sources", nargs="+", help="only these of the table's names; selective_search always")
    return parser.parse_args()


if __name__ == "__main__":
    main()
