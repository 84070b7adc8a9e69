"""Frames of a clip that is made on the spot."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from wsdet.data.images import read_image
from wsdet.data.video import write_frames
from wsdet.types import InputError


def clip(path: Path, n_frames: int) -> Path:
    """Frames of 64 x 48 pixels in one gray each, 20 apart."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 48))
    for number in range(n_frames):
        writer.write(np.full((48, 64, 3), 20 * number, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize(("every", "numbers"), [(1, [0, 1, 2, 3, 4]), (2, [0, 2, 4]), (9, [0])])
def test_frames_are_images_in_order(tmp_path: Path, every: int, numbers: list[int]) -> None:
    paths = write_frames(clip(tmp_path / "my clip.avi", 5), tmp_path / "frames", every)
    assert [path.name for path in paths] == [f"my clip_{number:06d}.jpg" for number in numbers]
    for path, number in zip(paths, numbers, strict=True):
        pixels = read_image(path)
        assert pixels.shape == (48, 64, 3)
        assert abs(pixels.mean() - 20 * number) < 3


def test_what_is_there_is_not_written_again(tmp_path: Path) -> None:
    video = clip(tmp_path / "clip.avi", 3)
    paths = write_frames(video, tmp_path / "frames")
    before = [path.stat().st_mtime_ns for path in paths]
    content = paths[1].read_bytes()
    paths[1].unlink()
    assert write_frames(video, tmp_path / "frames") == paths
    assert [path.stat().st_mtime_ns for path in paths][::2] == before[::2]
    assert paths[1].read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"RIFF no video", None], ids=["empty", "text", "missing"])
def test_what_is_no_video_is_an_input_error(tmp_path: Path, content: bytes | None) -> None:
    video = tmp_path / "clip.avi"
    if content is not None:
        video.write_bytes(content)
    with pytest.raises(InputError, match=r"clip\.avi' has no frame that OpenCV can read"):
        write_frames(video, tmp_path / "frames")


def test_the_step_is_checked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"every must be a whole number of at least 1, got 0"):
        write_frames(tmp_path / "clip.avi", tmp_path / "frames", 0)


def test_frames_that_cannot_be_read_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    video = clip(tmp_path / "clip.avi", 12)
    content = video.read_bytes()
    start = content.index(b"movi")
    video.write_bytes(content[: (start + content.index(b"idx1")) // 2])
    paths = write_frames(video, tmp_path / "frames")
    assert 0 < len(paths) < 12
    assert f"only {len(paths)} of the 12 frames that its header promises can be read" in caplog.text
