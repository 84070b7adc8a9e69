"""`Run`: the data, folders and network of one run, and a method for each stage that others build on.

A program makes one from its config; below it there is no config. What a stage leaves on disk is found again by the
settings that it depends on, so calling a method twice, in one process or in two, does the work once.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wsdet.localizers.constant_boxes import average_shares
from wsdet.questions import Localizer
from wsdet.runners.job import Runner
from wsdet.runners.local import Local
from wsdet.sampling import limited
from wsdet.stages.localize import localize, sizes_of_ground_truth, visualize
from wsdet.stages.network import NetworkOptions, network_of, trained_weights
from wsdet.stages.propose import propose
from wsdet.stages.recipe import Recipe, with_localized
from wsdet.storage.box_store import BoxStore
from wsdet.storage.provenance import check_settings, read_settings
from wsdet.storage.shard import Shard
from wsdet.storage.timings import Timings
from wsdet.tiles import Tiling
from wsdet.training.loggers import check_logger
from wsdet.training.options import RegionClassifierTraining
from wsdet.types import Boxes, Dataset, Floats, InputError, ProposalSource, Split

if TYPE_CHECKING:
    from torch import Tensor

    from wsdet.networks.classifier import Network

log = logging.getLogger(__name__)

SPLITS: tuple[Split, ...] = ("train", "test")


@dataclass(frozen=True)
class Execution:
    """How a run computes.

    Attributes:
        seed: of everything random.
        batch_size: inputs of one forward pass.
        in_flight: images localized side by side.
        workers: processes that compute proposals or read images.
        strict: the first bad image ends the run.
    """

    seed: int = 0
    batch_size: int = 32
    in_flight: int = 16
    workers: int = 2
    strict: bool = False


class Run:
    """One run.

    Args:
        dataset: the images.
        data: the settings that `dataset` was made from, as plain JSON values.
        ids: the images of each split that take part.
        out: the run's folder.
        network: which network, or one that is there already.
        execution: how to compute.
        shared: folder for what runs have in common; None: `out`.
        runner: where images are localized and detectors run; None: in this process.
        trainer: further arguments of `pytorch_lightning.Trainer`; its `logger` is a name, see `wsdet.training.loggers`.
        region_classifier: how localizers' region classifiers are trained.
        proposals: the proposals that detectors are trained on; a localizer that looks at the same shares them.
        config: the program's whole config as text, for the report.
        shard: the part of the images that this process does; None: all.
        learned: the region classifier of localizers whose `weights` are "labels"; None: one that is trained here.
    """

    def __init__(
        self,
        dataset: Dataset,
        data: Mapping[str, Any],
        ids: Mapping[Split, Sequence[str]],
        out: Path,
        network: NetworkOptions | Network,
        execution: Execution,
        *,
        shared: Path | None = None,
        runner: Runner | None = None,
        trainer: Mapping[str, Any] | None = None,
        region_classifier: RegionClassifierTraining | None = None,
        proposals: Recipe | None = None,
        config: str = "",
        shard: Shard | None = None,
        learned: Path | None = None,
    ) -> None:
        self.dataset = dataset
        self.data = dict(data)
        self.train_ids, self.test_ids = (tuple(ids.get(split, ())) for split in SPLITS)
        self.out = out
        self.shared = shared or out
        self.runner = runner or Local()
        self._network = network
        self.execution = execution
        self.trainer = dict(trainer or {})
        if isinstance(logger := self.trainer.get("logger"), str):
            check_logger(logger)
        self.region_classifier = region_classifier or RegionClassifierTraining()
        self.proposals_recipe = proposals
        self.config = config
        self.shard = shard
        self.learned = learned
        self.timings = Timings((shard.own_folder if shard else out) / "timings.json")

    def rehearsal(self, ids: Mapping[Split, Sequence[str]], folder: Path) -> Run:
        """The same run on other images and in another folder, in this process alone."""
        return Run(
            self.dataset,
            self.data,
            ids,
            folder,
            self._network,
            replace(self.execution, workers=0),
            trainer=self.trainer | {"logger": "csv"},
            region_classifier=self.region_classifier,
            proposals=self.proposals_recipe,
        )

    def seen_as(self, view: Dataset, name: str) -> Run:
        """The same run on another view of its images, in the folder `views/<name>`, with what this run has learned."""
        return Run(
            view,
            {**self.data, "view": name, "seed": self.execution.seed},
            {"train": self.train_ids},
            self.shared / "views" / name,
            self.network,
            self.execution,
            runner=self.runner,
            proposals=self.proposals_recipe,
            learned=self.shared / "region_classifier" / "model.safetensors",
        )

    @property
    def ids(self) -> list[str]:
        """The images of both splits."""
        return [*self.train_ids, *self.test_ids]

    @cached_property
    def network(self) -> Network:
        """The frozen classifier, trained from the labels first where it has to be."""
        if not isinstance(self._network, NetworkOptions):
            return self._network
        with self._alone("training"), self.timings.stage("classifier"):
            return network_of(self._network, *self._training_of_classifier())

    def train_classifier(self) -> Path:
        """The weights file of the classifier trained from the labels, now if it is not there yet."""
        if not isinstance(self._network, NetworkOptions):
            raise ValueError("a run that was given its network has no options to train one")
        with self.timings.stage("classifier"):
            return trained_weights(self._network, *self._training_of_classifier())

    def _training_of_classifier(self) -> tuple[Dataset, Sequence[str], Path, int, Mapping[str, Any], int]:
        folder, how = self.shared / "classifier", self.execution
        return self.dataset, self.train_ids, folder, how.workers, self.trainer, how.seed

    def localize(self, recipe: Recipe, ids: Sequence[str], masks: Path | None = None) -> tuple[BoxStore, Localizer]:
        """Boxes of the images `ids` by a localizer, in the store `localization/<name>`, and the localizer itself.

        Proposals that it or one of its members looks at, a `source`, are made first for all of them, in parallel
        processes. Where its `weights` are "labels", they are trained from those of the training images then.

        Args:
            recipe: of the localizer.
            ids: the images wanted.
            masks: see `wsdet.stages.localize.localize`.
        """
        recipe = self.with_learned_size(recipe)
        settings = {"data": self.data, "localizer": recipe.settings, "network": self.network.settings}
        localizer = self._with_what_it_needs(recipe, f"for_{recipe.name}", ids)  # after weights that cannot be had
        store = self._store("localization", recipe.name, settings | ({"masks": True} if masks else {}))
        how, runner = (self.execution.batch_size, self.execution.in_flight, self.execution.strict), self.runner
        with self.timings.stage(f"localize/{recipe.name}", lambda: runner.n_forward_passes):
            localize(self.dataset, ids, localizer, self.network, store, *how, masks, runner, self.shard)
        return store, localizer

    def prepare(self, recipe: Recipe, ids: Sequence[str]) -> None:
        """Makes all that localizing needs: the network, proposals, what is trained on them."""
        log.info("network: %s", self.network.fingerprint)
        self._with_what_it_needs(self.with_learned_size(recipe), f"for_{recipe.name}", ids)

    def visualize(self, name: str, method: Localizer, ids: Sequence[str], n_images: int) -> None:
        """Draws what a localizer sees in some of the images `ids` into `evidence/<name>`."""
        how, shown = self.execution, limited(ids, n_images, self.execution.seed)
        folder = self.out / "evidence" / name
        visualize(self.dataset, shown, method, self.network, folder, how.batch_size, how.in_flight)

    def propose(self, recipe: Recipe, ids: Sequence[str]) -> BoxStore:
        """Boxes of a proposal source for the images `ids`, in a store in `proposals/`.

        Args:
            recipe: of the source. A part of it with a `localizer` stands for that localizer's boxes, made first.
            ids: the images wanted.
        """
        store = self._store("proposals", recipe.name, {"data": self.data, "proposals": recipe.settings})
        localized = with_localized(recipe, lambda inner: self.localize(inner, ids)[0].folder)
        source: ProposalSource = localized.build()
        of_labels = localized.settings != recipe.settings  # a localizer looks at them
        with self.timings.stage("propose"):
            # on one machine proposals have their own number of processes: they need no network
            runner = Local(self.execution.workers) if isinstance(self.runner, Local) else self.runner
            propose(self.dataset, ids, source, store, runner, self.execution.strict, of_labels, self.shard)
        return store

    def _store(self, kind: str, name: str, settings: Mapping[str, Any]) -> BoxStore:
        """The store of these settings: what several steps or runs want is made once, whatever they call it.

        Args:
            kind: the folder of stores.
            name: of the store, unless one with equal settings is there under another.
            settings: what the boxes depend on.
        """
        folder = self.shared / kind
        there = {path.parent: read_settings(path.parent) for path in sorted(folder.glob("*/settings.json"))}
        plain = json.loads(json.dumps(settings))
        equal = [path.name for path, of_path in there.items() if of_path == plain]
        if equal:
            name = name if name in equal else equal[0]
        elif folder / name in there and self.shared != self.out:  # of another run that shares the folder
            name += "-" + hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:8]
        with self._alone("settings"):
            check_settings(folder / name, settings)
        return BoxStore(folder / name, settings)

    def _alone(self, purpose: str) -> AbstractContextManager[None]:
        """Shards take turns; without them there is nobody to wait for."""
        return self.shard.alone(purpose) if self.shard else nullcontext()

    def with_learned_size(self, recipe: Recipe) -> Recipe:
        """A center box whose size is left open gets the mean size of the training images' ground-truth boxes.

        The one place where a localizer's settings come from ground truth, and only where `width` and `height` are null.
        """
        settings = recipe.settings
        if "width" not in settings or settings["width"] is not None or settings["height"] is not None:
            return recipe
        shares = average_shares(sizes_of_ground_truth(self.dataset, self.train_ids))
        if shares is None:
            log.warning("no ground-truth boxes whose size could be learned: the center box is 0.7 x 0.7 of the image")
        width, height = shares or (0.7, 0.7)
        log.info("center box: %.3f x %.3f of the image", width, height)
        return recipe.changed(width=width, height=height)

    def _with_what_it_needs(self, recipe: Recipe, name: str, ids: Sequence[str]) -> Localizer:
        from wsdet.proposals.files import Files

        made: dict[str, Any] = {}
        trained = self.shared / "region_classifier" / "training.json"
        if recipe.settings.get("weights") == "labels" and self.shard and not trained.exists():
            raise InputError(
                f"shard={self.shard.number}/{self.shard.of}: {trained.parent} holds no trained region classifier, "
                "which learns from the proposals of all training images; run `python -m wsdet.localize` once with the "
                "same settings and prepare=true in place of shard="
            )
        if "source" in recipe.settings:
            source, other = recipe.part("source", name), self.proposals_recipe
            if other and source.settings == other.settings:
                source = other
            store = self.propose(source, ids)
            made["source"] = Files(store.folder)
            if recipe.settings.get("weights") == "labels":
                made["weights"] = self.learned or self._region_classifier(recipe.settings, store)
        if "members" in recipe.settings:
            members = recipe.part("members", name)
            made["members"] = {
                member: self._with_what_it_needs(members.part(member, member), f"{name}_{member}", ids)
                for member in members.settings
            }
        localizer: Localizer = recipe.build(**made)
        return localizer

    def _region_classifier(self, localizer: Mapping[str, Any], proposals: BoxStore) -> Path:
        """The weights of a region classifier for the training images, trained now if they are not there yet.

        Args:
            localizer: the settings of the one that looks at them.
            proposals: its source's boxes.
        """
        from wsdet.stages.region_features import ProposalFeatures
        from wsdet.training.region_classifier import train_region_classifier

        n_proposals, score_exponent = localizer["n_proposals"], localizer["score_exponent"]
        tiling = Tiling.of(localizer.get("tile"), localizer.get("tile_overlap", Tiling.overlap))
        maps = self.shared / "feature_maps"
        describe = ProposalFeatures(self.dataset, proposals, n_proposals, self.network, maps, tiling)

        def evidence(image_id: str, described: Tensor) -> Floats:
            seen = self.network.outputs_of_features(described).class_scores
            return np.nan_to_num(seen, nan=1.0) ** np.float32(
                score_exponent
            )  # no output: no evidence, all regions alike

        with self._alone("training"), self.timings.stage("region_classifier"):
            return train_region_classifier(
                self.dataset,
                [image_id for image_id in self.train_ids if len(proposals.get(image_id, Boxes.empty()))],
                describe,
                self.shared / "region_classifier",
                xyxy_of=describe.xyxy_of,
                evidence=evidence,
                grid=describe.grid,
                network=self.network.fingerprint,
                depends_on={
                    "network": self.network.settings,
                    "features": describe.settings,
                    "n_proposals": n_proposals,
                    "score_exponent": score_exponent,
                },
                options=self.region_classifier,
                trainer_options=self.trainer,
                seed=self.execution.seed,
            )


def failures(stores: Iterable[BoxStore]) -> dict[str, str]:
    """Why images failed, by id, in any of the stores."""
    return {image_id: why for store in stores for image_id, why in store.failed.items()}
