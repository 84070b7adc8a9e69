"""Whether memory grows with the number of images: the same photos, linked many times over, through one stage.

    python scripts/bench_memory.py [--few 1000] [--many 10000] [--stage propose|localize|learn|train] [--side 96]

Prints the largest memory of a run over few images and over many, and ends with status 1 if they differ by more than
10 %. The memory is that of the main process, sampled from the system (Linux). The photos are drawn on the spot.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from wsdet.data.synthetic import Synthetic

_DISTINCT = 50  # photos that are drawn; the others are links to them
_ALLOWED = 1.10
_TINY = ["network=tiny", "network.head=pretrained", "network.input_size=32", "report=false"]
_STAGES = {
    "propose": ["wsdet.propose", "proposals=selective_search", "workers=2"],
    "localize": ["wsdet.localize", "localizer=stl_fast", *_TINY],
    "learn": ["wsdet.localize", "localizer=wsddn", "localizer.source.max_boxes=100", *_TINY],
    # a pool of examples that both fill: up to its size, memory grows with the images, as the config says
    "train": [
        "wsdet.train",
        "localizer=center_box",
        "proposals.max_boxes=300",
        "detector.train_on=[pseudo]",
        "detector.max_rows=20000",
        *_TINY,
    ],
}


def main() -> None:
    """Measures both sizes and compares them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=1000)
    parser.add_argument("--many", type=int, default=10_000)
    parser.add_argument("--stage", choices=_STAGES, default="localize")
    parser.add_argument("--side", type=int, default=96, help="of the photos, pixels")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = _draw(Path(folder) / "photos", arguments.side)
        peaks = {}
        for n_images in (arguments.few, arguments.many):
            linked = _link(photos, Path(folder) / str(n_images), n_images)
            seconds, peaks[n_images] = _peak(_STAGES[arguments.stage], linked, Path(folder) / f"out_{n_images}")
            print(
                f"{arguments.stage}, {n_images} images: {peaks[n_images] / 2**20:.0f} MiB, {seconds:.0f} s", flush=True
            )
    growth = peaks[arguments.many] / peaks[arguments.few]
    print(f"x {growth:.3f}, at most x {_ALLOWED:.2f} is allowed")
    sys.exit(growth > _ALLOWED)


def _draw(folder: Path, side: int) -> list[Path]:
    scenes = Synthetic(n_train=_DISTINCT, n_test=0, size=side, instances=1)
    paths = []
    for number, image_id in enumerate(scenes.ids("train")):
        sample = scenes.load(image_id)
        path = folder / scenes.classes[sample.labels[0]] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sample.pixels).save(path)
        paths.append(path)
    return paths


def _link(photos: list[Path], folder: Path, n_images: int) -> Path:
    """`n_images` links in folders of classes, in two splits: copies would otherwise all come to one side."""
    for number in range(n_images):
        photo = photos[number % len(photos)]
        link = folder / ("val" if number % 10 == 9 else "train") / photo.parent.name / f"{number}.png"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(photo)
    return folder


def _peak(stage: list[str], photos: Path, out: Path) -> tuple[float, float]:
    """Seconds, and the most bytes that the process had in memory."""
    module, *overrides = stage
    data = ["data=folder", f"data.root={photos}", "data.train_split=train", "data.test_split=val"]
    command = [sys.executable, "-m", module, *data, *overrides, "device=cpu", f"out={out}"]
    start, peak = time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, _resident(process.pid))
            time.sleep(0.2)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with status {process.returncode}; its log is gone, run it alone")
    return time.perf_counter() - start, float(peak)


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):  # it has just ended
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
