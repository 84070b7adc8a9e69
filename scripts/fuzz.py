"""Coverage-guided fuzzing of every reader: whatever the bytes, the answer is data or an `InputError`.

    python scripts/fuzz.py [READER ...] [--seconds 600] [--corpus DIR]

Needs atheris (pip install atheris). Each reader runs in a process of its own, from small
whole files; inputs that led to something new are kept in the corpus, where a next call goes on. What breaks a reader
is written as crash-* beside them: make it a test.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from wsdet.types import InputError

_IMAGE = "images/1.jpg"


def main() -> None:
    """Runs the readers one after the other; ends with status 1 if one broke."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="*", choices=[*READERS, []], help=", ".join(READERS))
    parser.add_argument("--seconds", type=int, default=600, help="for each reader")
    parser.add_argument("--corpus", type=Path, default=Path("fuzz_corpus"))
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        _fuzz(arguments.readers[0], arguments.seconds, arguments.corpus)
        return
    broken = []
    for name in arguments.readers or READERS:
        command = [sys.executable, __file__, name, "--here"]
        command += ["--seconds", str(arguments.seconds), "--corpus", str(arguments.corpus / name)]
        print(f"--- {name}", flush=True)
        if subprocess.run(command, check=False).returncode:
            broken.append(name)
    print(f"{len(broken)} readers broke: {', '.join(broken)}" if broken else "no reader broke")
    sys.exit(bool(broken))


def _fuzz(name: str, seconds: int, corpus: Path) -> None:
    try:
        import atheris
    except ImportError:
        sys.exit("scripts/fuzz.py needs atheris: pip install atheris")
    seeds, make = READERS[name]
    corpus.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        _write_image(Path(folder))
        with atheris.instrument_imports(include=["wsdet", "yaml", "defusedxml"]):
            read = make(Path(folder))
            for number, seed in enumerate(seeds()):
                (corpus / f"seed-{number}").write_bytes(seed)

        def one(data: bytes) -> None:
            with suppress(InputError):
                read(data)

        options = [f"-max_total_time={seconds}", f"-artifact_prefix={corpus}/", "-timeout=20", "-rss_limit_mb=4096"]
        options.append("-len_control=0")  # from the start inputs as long as the seeds: short ones are no files
        atheris.Setup([sys.argv[0], *options, str(corpus)], one)
        atheris.Fuzz()


def _write_image(folder: Path) -> None:
    (folder / "images").mkdir()
    Image.fromarray(np.zeros((10, 20, 3), np.uint8)).save(folder / _IMAGE)


# --- one function a reader: from the folder, what reads a file of these bytes


def _images(folder: Path) -> Callable[[bytes], object]:
    from wsdet.data.images import read_image, read_size

    path = folder / "image"

    def read(data: bytes) -> object:
        path.write_bytes(data)
        size = read_size(path, 10**6)
        pixels = read_image(path, 10**6)
        if pixels.shape[:2] != size:
            raise RuntimeError(f"the header says {size}, the pixels are {pixels.shape}")
        return pixels

    return read


def _voc(folder: Path) -> Callable[[bytes], object]:
    from wsdet.data.voc import Voc

    year = folder / "VOC2007"
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (year / name).mkdir(parents=True)
    (folder / _IMAGE).rename(year / "JPEGImages" / "1.jpg")
    (year / "ImageSets" / "Main" / "trainval.txt").write_text("1\n")

    def read(data: bytes) -> object:
        (year / "Annotations" / "1.xml").write_bytes(data)
        dataset = Voc(folder, test_split=None)
        return dataset.truth["1"], dataset.labels("1")

    return read


def _voc_lists(folder: Path) -> Callable[[bytes], object]:
    from wsdet.data.voc import Voc

    lists = folder / "VOC2007" / "ImageSets" / "Main"
    lists.mkdir(parents=True)

    def read(data: bytes) -> object:
        ids, _, flags = data.partition(b"\0")
        (lists / "trainval.txt").write_bytes(ids)
        (lists / "cat_trainval.txt").write_bytes(flags)
        dataset = Voc(folder, test_split=None, classes=["cat"])
        return [dataset.labels(image_id) for image_id in dataset.ids("train")]

    return read


def _coco(folder: Path) -> Callable[[bytes], object]:
    from wsdet.data.coco import Coco

    def read(data: bytes) -> object:
        (folder / "a.json").write_bytes(data)
        dataset = Coco(folder, None, None, "a.json", "images")
        return [_all_of(dataset, image_id) for image_id in dataset.ids("train")]

    return read


def _csv(folder: Path) -> Callable[[bytes], object]:
    from wsdet.data.csv_file import CsvFile

    def read(data: bytes) -> object:
        (folder / "labels.csv").write_bytes(data)
        dataset = CsvFile(folder)
        return [_all_of(dataset, image_id) for image_id in dataset.ids("train")]

    return read


def _yolo(folder: Path) -> Callable[[bytes], object]:
    from wsdet.data.yolo import Yolo

    (folder / "data.yaml").write_text("train: images\nnames: [cat, dog]\n")
    (folder / "labels").mkdir()

    def read(data: bytes) -> object:
        (folder / "labels" / "1.txt").write_bytes(data)
        return _all_of(Yolo(folder, test_split=None), _IMAGE)

    return read


def _yolo_yaml(folder: Path) -> Callable[[bytes], object]:
    from wsdet.data.yolo import Yolo

    def read(data: bytes) -> object:
        (folder / "data.yaml").write_bytes(data)
        return Yolo(folder, test_split=None).ids("train")

    return read


def _tiny_imagenet(folder: Path) -> Callable[[bytes], object]:
    from wsdet.data.tiny_imagenet import TinyImageNet

    (folder / "wnids.txt").write_text("n1\n")
    for name in ("train/n1/images", "val/images"):
        (folder / name).mkdir(parents=True)
    (folder / _IMAGE).rename(folder / "train/n1/images/1.jpg")

    def read(data: bytes) -> object:
        boxes, _, rows = data.partition(b"\0")
        (folder / "train/n1/n1_boxes.txt").write_bytes(boxes)
        (folder / "val/val_annotations.txt").write_bytes(rows)
        dataset = TinyImageNet(folder)
        return [_all_of(dataset, image_id) for image_id in dataset.ids("train")]

    return read


def _auto(folder: Path) -> Callable[[bytes], object]:
    from wsdet.data.auto import open_any

    names = (
        *("data.yaml", "labels.csv", "annotations.json", "wnids.txt"),
        *("annotations.xml", "classes.txt", "images/1.json", "images/1.xml", "images/1.txt", "obj.data"),
    )

    def read(data: bytes) -> object:
        for name in names:
            (folder / name).unlink(missing_ok=True)
        (folder / names[data[0] % len(names) if data else 0]).write_bytes(data[1:])
        dataset = open_any(folder)
        return [
            (dataset.labels(one), dataset.truth.get(one)) for split in ("train", "test") for one in dataset.ids(split)
        ]

    return read


def _proposals(suffix: str) -> Callable[[Path], Callable[[bytes], object]]:
    def make(folder: Path) -> Callable[[bytes], object]:
        from wsdet.proposals.files import Files
        from wsdet.types import Sample

        sample = Sample("1", np.zeros((10, 20, 3), np.uint8))

        def read(data: bytes) -> object:
            (folder / f"boxes{suffix}").write_bytes(data)
            return Files(folder / f"boxes{suffix}", order="xyxy", counting="from_1").propose(sample)

        return read

    return make


def _store(folder: Path) -> Callable[[bytes], object]:
    from wsdet.storage.box_store import BoxStore

    BoxStore(folder / "store", {})
    (folder / "store" / "parts").mkdir()

    def read(data: bytes) -> object:
        (folder / "store" / "parts" / "000000.parquet").write_bytes(data)
        return dict(BoxStore(folder / "store"))

    return read


def _store_description(folder: Path) -> Callable[[bytes], object]:
    from wsdet.storage.box_store import BoxStore

    def read(data: bytes) -> object:
        settings, _, failed = data.partition(b"\0")
        (folder / "settings.json").write_bytes(settings)
        (folder / "failed.json").write_bytes(failed)
        return BoxStore(folder).failed, BoxStore(folder, {"a": 1})

    return read


def _run_folder(folder: Path) -> Callable[[bytes], object]:
    """What `compare` and a run that goes on read of a folder."""
    from wsdet.stages.compare import compare, group_runs, read_runs
    from wsdet.storage.finished import is_sealed
    from wsdet.storage.timings import Ledger

    def read(data: bytes) -> object:
        for name, content in zip(("config.yaml", "metrics.json", "ledger.json"), data.split(b"\0"), strict=False):
            (folder / name).write_bytes(content)
        Ledger(folder / "ledger.json").column("seconds")
        is_sealed(folder / "ledger.json", {})
        return compare(group_runs({"run": read_runs(folder)}))

    return read


def _tensors(folder: Path) -> Callable[[bytes], object]:
    from wsdet.storage import tensors

    def read(data: bytes) -> object:
        (folder / "a").write_bytes(data)
        return tensors.load(folder / "a")

    return read


def _saved_tensors() -> list[bytes]:
    from wsdet.storage import tensors

    with tempfile.TemporaryDirectory() as folder:
        tensors.save(Path(folder, "a"), {"x": np.ones((2, 3), np.float16), "y": np.array(1)}, {"format": "test 1"})
        return [Path(folder, "a").read_bytes()]


def _weights(folder: Path) -> Callable[[bytes], object]:
    from wsdet.networks.backbones import build_backbone
    from wsdet.networks.weights import load_weights, read_metadata

    backbone = build_backbone("tiny", 2, 32)

    def read(data: bytes) -> object:
        (folder / "weights").write_bytes(data)
        load_weights(folder / "weights", "tiny", backbone.state_dict())
        return read_metadata(folder / "weights")

    return read


def _all_of(dataset: object, image_id: str) -> object:
    """Labels and true boxes, each of which may be an `InputError` of its own."""
    found = []
    for read in (dataset.labels, dataset.truth.get):  # type: ignore[attr-defined]
        try:
            found.append(read(image_id))
        except InputError as error:
            found.append(error)
    return found


_XML = (
    b"<annotation><object><name>cat</name><difficult>0</difficult>"
    b"<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
)
_COCO = json.dumps(
    {
        "images": [{"id": 1, "file_name": "1.jpg"}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "iscrowd": 0}],
    }
).encode()
_YAML = b"train: images\nval: images\nnames: {0: cat, 1: dog}\n"
_CSV = b'image,labels,split\nimages/1.jpg,"cat; dog",train\n'
_LAYOUTS = (
    _YAML,
    _CSV,
    _COCO,
    b"n1\n",
    b'<annotations><image name="1.jpg" width="20" height="10"><box label="a" xtl="1" ytl="1" xbr="5" ybr="5"/></image>'
    b"</annotations>",
    b"a\nb\n",
    b'{"version": "5.0", "shapes": [{"label": "a", "points": [[1, 1], [5, 5]], "shape_type": "rectangle"}],'
    b' "imagePath": "1.jpg", "imageHeight": 10, "imageWidth": 20}',
    _XML,
    b"0 .5 .5 .5 .5\n",
    b"classes = 1\ntrain = train.txt\nnames = obj.names\n",
)
_LABEL_STUDIO = (
    b'[{"data": {"image": "/data/upload/1/abc-1.jpg"}, "annotations": [{"result": [{"type": "rectanglelabels",'
    b' "value": {"x": 1, "y": 1, "width": 5, "height": 5, "rectanglelabels": ["a"]}}]}]}]'
)


def _pictures() -> list[bytes]:
    from wsdet.data.images import FORMATS

    pixels = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    files = [io.BytesIO() for _ in FORMATS]
    for file, name in zip(files, FORMATS, strict=True):
        pixels.save(file, name)
    return [file.getvalue() for file in files]


def _npz() -> list[bytes]:
    file = io.BytesIO()
    np.savez(file, **{"1": np.array([[1, 2, 3, 4, 0.5]])})
    return [file.getvalue()]


def _mat() -> list[bytes]:
    import scipy.io

    boxes, images = np.empty((1, 1), object), np.empty((1, 1), object)
    boxes[0, 0], images[0, 0] = np.array([[1.0, 2, 3, 4]]), "1"
    files = []
    for compressed in (False, True):
        file = io.BytesIO()
        scipy.io.savemat(file, {"boxes": boxes, "images": images}, do_compression=compressed)
        files.append(file.getvalue())
    return files


def _part() -> list[bytes]:
    from wsdet.storage.box_store import BoxStore
    from wsdet.types import Boxes

    with tempfile.TemporaryDirectory() as folder:
        boxes = Boxes(np.array([[1, 2, 3, 4]], np.float32))
        BoxStore(folder, {}).fill(["1"], lambda ids: [(image_id, boxes) for image_id in ids], "seed")
        return [path.read_bytes() for path in Path(folder).rglob("*.parquet")]


def _saved_weights() -> list[bytes]:
    import torch

    from wsdet.networks.backbones import build_backbone
    from wsdet.networks.weights import WeightsMetadata, save_weights

    with tempfile.TemporaryDirectory() as folder:
        backbone = build_backbone("tiny", 2, 32)
        save_weights(Path(folder) / "a.safetensors", backbone.state_dict(), WeightsMetadata("tiny", 2, 32))
        torch.save({"state_dict": {"fc.weight": torch.zeros(2, 2)}}, Path(folder) / "b.ckpt")
        return [path.read_bytes() for path in Path(folder).iterdir()]


def _model(
    save: Callable[[Path], None], load: Callable[[Path], object]
) -> tuple[Callable[[], list[bytes]], Callable[[Path], Callable[[bytes], object]]]:
    """Whole files of a saved model behind their number, and what reads the model with one of them exchanged."""

    def files(folder: Path) -> list[Path]:
        save(folder)
        return sorted(path for path in folder.iterdir() if path.is_file())

    def seeds() -> list[bytes]:
        with tempfile.TemporaryDirectory() as folder:
            return [bytes([number]) + path.read_bytes() for number, path in enumerate(files(Path(folder)))]

    def make(folder: Path) -> Callable[[bytes], object]:
        saved = files(folder / "model")
        contents = [path.read_bytes() for path in saved]

        def read(data: bytes) -> object:
            number = data[0] % len(saved) if data else 0
            saved[number].write_bytes(data[1:])
            try:
                return load(folder / "model")
            finally:
                saved[number].write_bytes(contents[number])

        return read

    return seeds, make


def _save_region_classifier(folder: Path) -> None:
    from wsdet.linear_models.region_classifier import RegionClassifier

    maps = np.zeros((1, 4, 2), np.float32)
    RegionClassifier(maps, maps[:, 0], maps, ("a", "b"), 1, "0").save(folder / "model.safetensors")


def _load_region_classifier(folder: Path) -> object:
    from wsdet.linear_models.region_classifier import RegionClassifier

    return RegionClassifier.load(folder / "model.safetensors")


def _save_regressor(folder: Path) -> None:
    from wsdet.linear_models.box_regressor import BoxRegressor

    box = np.array([[0.2, 0.2, 0.8, 0.8]], np.float32)
    BoxRegressor(np.zeros((1, 4, 4, 4), np.float32), box, ("a",), input_size=4).save(folder / "model.safetensors")


def _load_regressor(folder: Path) -> object:
    from wsdet.linear_models.box_regressor import BoxRegressor

    return BoxRegressor.load(folder / "model.safetensors")


def _save_detector(folder: Path) -> None:
    from wsdet.detectors.rcnn.detector import RcnnDetector
    from wsdet.detectors.rcnn.features import RoiFeatures
    from wsdet.networks.backbones import build_backbone
    from wsdet.networks.classifier import Network

    features = RoiFeatures(Network(build_backbone("tiny", 2, 32), [(0,), (1,)], device="cpu"), grid=1)
    weights = np.zeros((2, features.dim), np.float32)
    RcnnDetector(features, ("a", "b"), weights, weights[:, 0]).save(folder)


def _load_detector(folder: Path) -> object:
    from wsdet.detectors.rcnn.detector import RcnnDetector

    return RcnnDetector.load(folder, device="cpu")


READERS: dict[str, tuple[Callable[[], list[bytes]], Callable[[Path], Callable[[bytes], object]]]] = {
    "images": (_pictures, _images),
    "voc": (lambda: [_XML], _voc),
    "voc_lists": (lambda: [b"1\n2\n\x001  1\n2 -1\n"], _voc_lists),
    "coco": (lambda: [_COCO], _coco),
    "csv": (lambda: [_CSV], _csv),
    "yolo": (lambda: [b"0 .5 .5 .5 .5\n1 0 0 .5 0 .5 1\n"], _yolo),
    "yolo_yaml": (lambda: [_YAML], _yolo_yaml),
    "tiny_imagenet": (lambda: [b"1.jpg\t0\t1\t9\t9\n\x00val_0.JPEG\tn1\t0\t0\t9\t9\n"], _tiny_imagenet),
    "auto": (
        lambda: [*(bytes([number]) + seed for number, seed in enumerate(_LAYOUTS)), b"\2" + _LABEL_STUDIO],
        _auto,
    ),
    "proposals_json": (
        lambda: [b'{"1": [[1, 2, 3, 4]]}', b'[{"image_id": 1, "bbox": [1, 2, 3, 4]}]'],
        _proposals(".json"),
    ),
    "proposals_mat": (_mat, _proposals(".mat")),
    "proposals_npz": (_npz, _proposals(".npz")),
    "store": (_part, _store),
    "store_description": (lambda: [b'{"a": 1}\0{"1.jpg": "it is broken"}'], _store_description),
    "run_folder": (
        lambda: [b'seed: 1\na: &a [1, 2]\nb: *a\n\0{"map": 0.5}\0{"detect": {"seconds": 1.0, "forward_passes": 3}}'],
        _run_folder,
    ),
    "tensors": (_saved_tensors, _tensors),
    "weights": (_saved_weights, _weights),
    "region_classifier": _model(_save_region_classifier, _load_region_classifier),
    "regressor": _model(_save_regressor, _load_regressor),
    "detector": _model(_save_detector, _load_detector),
}

if __name__ == "__main__":
    main()
