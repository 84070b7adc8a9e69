"""The frames of a video file as image files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import cv2

from wsdet import check
from wsdet.data.images import read_image, read_size
from wsdet.storage.files import replacing
from wsdet.types import InputError

log = logging.getLogger(__name__)

SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".ogv"})
_JPEG_QUALITY = 95
_FASTEST = 1000  # frames per second that a header may promise


def write_frames(video: Path, folder: Path, every: int = 1) -> list[Path]:
    """Writes the frames of a video as `<name>_<number>.jpg`, numbers from 0; those that are there already stay.

    Args:
        video: the file.
        folder: receives the images.
        every: write each frame whose number is a multiple of this.

    Returns:
        The images in their order.

    Raises:
        InputError: OpenCV cannot read the video, or `every` is below 1.
    """
    check.at_least(1, every=every)
    capture = cv2.VideoCapture(str(video))
    promised = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    paths: list[Path] = []
    try:
        number = 0
        while capture.grab():
            if number % every == 0:
                paths.append(_write_frame(capture, folder / f"{video.stem}_{number:06d}.jpg"))
            number += 1
    finally:
        capture.release()
    if not paths:
        raise InputError(f"video '{video}' has no frame that OpenCV can read; convert it to MP4 (H.264) or MJPEG")
    if number < promised:
        log.warning(
            "%s: only %d of the %d frames that its header promises can be read; it is damaged or cut short, and what "
            "comes after them is not looked at",
            video,
            number,
            promised,
        )
    log.info("%s: %d frames, %d of them to look at, in %s", video, number, len(paths), folder)
    return paths


def frames_per_second(video: Path) -> float:
    """As the video's header says; 25 where it says nothing that is possible."""
    capture = cv2.VideoCapture(str(video))
    told = float(capture.get(cv2.CAP_PROP_FPS))
    capture.release()
    return told if 0 < told <= _FASTEST else 25.0


def write_video(path: Path, frames: Sequence[Path], per_second: float) -> None:
    """Writes image files of one size as an MP4 video.

    Args:
        path: the file, `NAME.mp4`, replaced whole.
        frames: the images, in order.
        per_second: frames of a second.

    Raises:
        InputError: this OpenCV cannot write MP4.
    """
    h, w = read_size(frames[0])
    with replacing(path) as beside:
        unfinished = beside.with_suffix(".mp4")  # OpenCV goes by the suffix
        writer = cv2.VideoWriter(str(unfinished), cv2.VideoWriter.fourcc(*"mp4v"), per_second, (w, h))
        try:
            if not writer.isOpened():
                raise InputError(f"{path} cannot be written: this OpenCV has no MP4; the frames lie beside it")
            for frame in frames:
                writer.write(cv2.cvtColor(read_image(frame), cv2.COLOR_RGB2BGR))
        finally:
            writer.release()
        unfinished.replace(beside)


def _write_frame(capture: cv2.VideoCapture, path: Path) -> Path:
    if path.exists():
        return path
    decoded, pixels = capture.retrieve()
    if not decoded:
        raise InputError(f"frame {path.stem} cannot be decoded; convert the video, or cut it before that frame")
    with replacing(path) as beside:
        beside.write_bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes())
    return path
