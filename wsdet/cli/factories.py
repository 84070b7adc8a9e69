"""What the programs make of their configs that takes another stage: a localizer with the proposals it looks at, say.

Stages do not know one another; this module and `wsdet.train` string them together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsdet.cli.build import build, limited, settings_of
from wsdet.localize import localize
from wsdet.propose import propose, source_of
from wsdet.questions import Localizer
from wsdet.storage.box_store import BoxStore
from wsdet.types import Boxes, Dataset

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from torch import Tensor

    from wsdet.networks.classifier import Network


def localized(
    cfg: DictConfig,
    folder: Path,
    node: DictConfig,
    dataset: Dataset,
    ids: Sequence[str],
    network: Network,
    made_of: Mapping[str, Any],
) -> Path:
    """`folder` as a store that the localizer of a config node has filled for `ids`.

    For programs that need a localizer's boxes on the way, as proposals.

    Args:
        cfg: of the program.
        folder: of the store.
        node: the localizer's config.
        dataset: holds the images.
        ids: images wanted.
        network: answers the localizer's questions.
        made_of: what the images depend on, for the store's settings.
    """
    from omegaconf import OmegaConf

    settings = {**made_of, "localizer": OmegaConf.to_container(node, resolve=True), "network": network.settings}
    store, localizer = BoxStore(folder, settings), build(node, "localizer")
    localize(dataset, ids, localizer, network, store, cfg.batch_size, cfg.in_flight, cfg.strict)
    return folder


def localizer_of(cfg: DictConfig, dataset: Dataset, ids: Sequence[str], network: Network) -> Localizer:
    """The localizer of `cfg.localizer`.

    Proposals that it or one of its members looks at, a `source`, are made first for all images, in parallel processes.
    Where its `weights` are "labels", they are trained from those of the training images then.
    """
    return _with_what_it_needs(cfg, cfg.localizer, f"for_{cfg.names.localizer}", dataset, ids, network)


def _with_what_it_needs(
    cfg: DictConfig, node: DictConfig, name: str, dataset: Dataset, ids: Sequence[str], network: Network
) -> Localizer:
    from omegaconf import OmegaConf

    from wsdet.proposals.files import Files

    made: dict[str, Any] = {}
    if "source" in node:
        same = node.source == cfg.get("proposals")  # what a detector is trained on, too, is made once
        store = proposed(cfg, node.source, cfg.names.proposals if same else name, dataset, ids, lambda: network)
        made["source"] = Files(store.folder)
        if node.get("weights") == "labels":
            made["weights"] = _trained_on_labels(cfg, node.n_proposals, dataset, store, network)
    if "members" in node:
        made["members"] = {
            member: _with_what_it_needs(cfg, part, f"{name}_{member}", dataset, ids, network)
            for member, part in node.members.items()
        }
    plain: dict[str, Any] = OmegaConf.to_container(node, resolve=True)  # type: ignore[assignment]
    return build(OmegaConf.create({key: plain[key] for key in plain if key not in made}), "localizer", **made)


def _trained_on_labels(
    cfg: DictConfig, n_proposals: int, dataset: Dataset, proposals: BoxStore, network: Network
) -> Path:
    """The weights of a region classifier for the training images, trained now if they are not there yet."""
    from wsdet.detectors.rcnn.features import RoiFeatures
    from wsdet.detectors.rcnn.map_cache import MapCache
    from wsdet.training.region_classifier import train_region_classifier

    run, features = Path(cfg.get("shared", cfg.out)), RoiFeatures(network)
    cache, settings = MapCache(run / "feature_maps", features), settings_of(cfg, "region_classifier", "trainer")
    ids = limited(dataset.ids("train"), cfg.limit, cfg.seed)

    def describe(image_id: str) -> Tensor:
        maps = cache.maps(image_id, lambda: features.maps(dataset.load(image_id)))
        return features.features(maps, proposals[image_id].xyxy[: n_proposals or None])

    return train_region_classifier(
        dataset,
        [image_id for image_id in ids if len(proposals.get(image_id, Boxes.empty()))],
        describe,
        run / "region_classifier",
        grid=features.grid,
        network=network.fingerprint,
        made_of={"network": network.settings, "features": features.settings, "n_proposals": n_proposals},
        trainer_options=settings["trainer"],
        seed=cfg.seed,
        **settings["region_classifier"],
    )


def proposed(
    cfg: DictConfig, node: DictConfig, name: str, dataset: Dataset, ids: Sequence[str], network: Callable[[], Network]
) -> BoxStore:
    """The store `proposals/<name>` of a run, filled with the boxes of a source for the images `ids`.

    Args:
        cfg: of the program.
        node: the source's config.
        name: of the store.
        dataset: holds the images.
        ids: images wanted.
        network: gives the network, for a source that is a localizer's boxes.
    """
    from omegaconf import OmegaConf

    run, made_of = Path(cfg.get("shared", cfg.out)), settings_of(cfg, "data")

    def localizer_boxes(localizer_name: str, localizer: DictConfig) -> Path:
        folder = run / "localization" / localizer_name
        return localized(cfg, folder, localizer, dataset, ids, network(), made_of)

    settings = made_of | {"proposals": OmegaConf.to_container(node, resolve=True)}
    store = BoxStore(run / "proposals" / name, settings)
    propose(dataset, ids, source_of(node, localizer_boxes), store, cfg.workers, cfg.strict)
    return store
