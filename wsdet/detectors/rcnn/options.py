"""What can be set about R-CNN's SVMs and their detections, beside the rules of training (`TrainingProtocol`)."""

from __future__ import annotations

from dataclasses import dataclass

from wsdet import check

SOLVERS = ("newton_cg", "liblinear")


@dataclass(frozen=True, eq=False)
class SvmOptions:
    """Of detectors that are trained together.

    Attributes:
        solver: "newton_cg" solves all classes at once; "liblinear" is scikit-learn's, the reference.
        max_rows: boxes whose features are held at once; None: a third of the free memory, at most 120,000.
        box_regression: each class also learns how to move its boxes (see `wsdet.detectors.rcnn.box_regression`).
        nms_iou: see `RcnnDetector`, as for the next two.
        max_per_class: proposals of a class that reach non-maximum suppression.
        max_per_image: detections of an image, all classes together; 0: all.

    Raises:
        InputError: a value is out of its range.
    """

    solver: str = "newton_cg"
    max_rows: int | None = None
    box_regression: bool = True
    nms_iou: float = 0.3
    max_per_class: int = 100
    max_per_image: int = 100

    def __post_init__(self) -> None:
        check.one_of(SOLVERS, solver=self.solver)
        check.at_least(1, max_per_class=self.max_per_class)
        if self.max_rows is not None:
            check.at_least(1, max_rows=self.max_rows)
        check.at_least(0, max_per_image=self.max_per_image)
        check.share(nms_iou=self.nms_iou)
