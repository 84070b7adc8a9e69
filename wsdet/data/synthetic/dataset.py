"""The built-in data set: photograph-like scenes made from a seed, without files.

Nine species in three families. Each has a large body and a small part; how much the bodies tell is a knob, the part
tells always, so a network that learns from class labels may look at the part instead of the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from wsdet import check
from wsdet.data.synthetic.painting import paint
from wsdet.data.synthetic.scenes import Scene, plan_scene
from wsdet.data.synthetic.species import SPECIES, bodies
from wsdet.types import Boxes, InputError, Sample, Split

_SMALLEST = 32  # pixels
_KEPT_BYTES = 64_000_000


class Synthetic:
    """A `Dataset` in which every image is a function of the seed and its id alone.

    Each image holds 1 to `instances` objects (half of them one, as in VOC) over textured ground among distractors. True
    boxes enclose an object's full silhouette, hidden parts too, clipped to the image; an object of which less than half
    is visible is `difficult`. Every class is the first object of the same number of images.

    Args:
        n_train: training images.
        n_test: test images.
        size: side of the square images, pixels, >= 32.
        class_correlation: 0..1. 0: the classes' bodies differ in shape, color and texture. 0.5: those of a family are
            alike. 1: all are alike, and only the part tells classes apart.
        clutter: 0..1, number of distractors and occluders, and contrast of the ground.
        instances: most objects in an image, >= 1.
        min_scale: least length of the longer side of an object's box, before clipping, as a share of `size`.
        max_scale: the greatest, <= 1.
        seed: another seed, other images.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(
        self,
        n_train: int = 800,
        n_test: int = 200,
        size: int = 128,
        class_correlation: float = 0.5,
        clutter: float = 0.5,
        instances: int = 3,
        min_scale: float = 0.15,
        max_scale: float = 0.8,
        seed: int = 0,
    ) -> None:
        check.at_least(0, n_train=n_train, n_test=n_test, seed=seed)
        check.at_least(_SMALLEST, size=size)
        check.at_least(1, instances=instances)
        check.share(class_correlation=class_correlation, clutter=clutter)
        check.within("(0, 1]", min_scale=min_scale)
        check.within(f"[{min_scale}, 1]", max_scale=max_scale)
        self.size = size
        self.class_correlation = class_correlation
        self.clutter = clutter
        self.instances = instances
        self.min_scale = min_scale
        self.max_scale = max_scale
        self.seed = seed
        self._ids: dict[Split, tuple[str, ...]] = {
            "train": tuple(f"train_{i:06d}" for i in range(n_train)),
            "test": tuple(f"test_{i:06d}" for i in range(n_test)),
        }
        self._key = {
            image_id: (split, i) for split, ids in enumerate(self._ids.values()) for i, image_id in enumerate(ids)
        }
        self._bodies = bodies(class_correlation)
        self._truth = _PlannedTruth(self)
        self._painted: dict[str, Sample] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the species."""
        return tuple(SPECIES)

    def ids(self, split: Split) -> tuple[str, ...]:
        """Image ids of a split, in order."""
        return self._ids[split]

    def labels(self, image_id: str) -> tuple[int, ...]:
        """The classes of the objects in an image."""
        return tuple(int(label) for label in np.unique(self._truth[image_id].labels))

    def load(self, image_id: str) -> Sample:
        """The image, painted when first asked for; the first 64 MB of images are kept, as every stage asks again.

        Raises:
            InputError: there is no such image.
        """
        if image_id in self._painted:
            return self._painted[image_id]
        scene = self.scene(image_id)
        sample = Sample(image_id, paint(scene, self._rng(image_id, "pixels"), self.clutter), scene.labels)
        if (len(self._painted) + 1) * sample.pixels.nbytes <= _KEPT_BYTES:
            self._painted[image_id] = sample
        return sample

    @property
    def truth(self) -> Mapping[str, Boxes]:
        """Ground-truth boxes of every image of both splits."""
        return self._truth

    def scene(self, image_id: str) -> Scene:
        """The plan of an image.

        Raises:
            InputError: there is no such image.
        """
        rng = self._rng(image_id, "plan")
        return plan_scene(
            rng,
            first_label=self._key[image_id][1] % len(SPECIES),
            bodies=self._bodies,
            size=self.size,
            clutter=self.clutter,
            instances=self.instances,
            min_scale=self.min_scale,
            max_scale=self.max_scale,
        )

    def _rng(self, image_id: str, purpose: str) -> np.random.Generator:
        if image_id not in self._key:
            raise InputError(f"the synthetic data has no image {image_id!r}; raise data.n_train or data.n_test")
        return np.random.default_rng([self.seed, *self._key[image_id], purpose == "pixels"])


class _PlannedTruth(Mapping[str, Boxes]):
    """The boxes of each image, planned when first asked for."""

    def __init__(self, dataset: Synthetic) -> None:
        self._dataset = dataset
        self._known: dict[str, Boxes] = {}

    def __getitem__(self, image_id: str) -> Boxes:
        if image_id not in self._dataset._key:
            raise KeyError(image_id)
        if image_id not in self._known:
            self._known[image_id] = self._dataset.scene(image_id).truth()
        return self._known[image_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._dataset._key)

    def __len__(self) -> int:
        return len(self._dataset._key)
