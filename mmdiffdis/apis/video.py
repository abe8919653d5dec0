"""Reading and writing of videos."""

import errno
import logging
import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from mmengine.logging import print_log

_FORMATS = (
    '3g2 3gp asf avi divx f4v flv m2ts m2v m4v mkv mov mp4 mpeg mpg mts mxf ogv ts vob webm wmv'
)
VIDEO_SUFFIXES = tuple(f'.{name}' for name in _FORMATS.split())
_USUAL_RATE = 25.0  # frames per second of a video that does not say
_LARGEST_TERM = 65535  # of the fraction that MPEG-4 stores as the frame rate


def is_video(path: Path) -> bool:
    """Returns whether the file's suffix is that of a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


class VideoReader:
    """Frames of a video, uint8 [H, W, 3] RGB, upright; can be iterated over once.

    A truncated video ends early, with a warning. Its number of frames is known only roughly.

    Attributes:
        fps: Frames per second; frames of a video of varying rate are taken to be evenly spaced.

    Raises:
        ValueError: If OpenCV cannot read the file as a video.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = path
        with _name_for_opencv(path) as name:
            self._capture = cv2.VideoCapture(name)
        if not self._capture.isOpened():
            raise ValueError(f"cannot read '{path}' as a video")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if math.isfinite(fps) and fps > 0 else _USUAL_RATE

    def __iter__(self) -> Iterator[np.ndarray]:
        expected, count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT), 0
        while True:
            success, frame = self._capture.read()
            if not success:
                break
            count += 1
            yield frame[..., ::-1]
        self._capture.release()
        if count < 0.9 * expected:
            print_log(
                f"'{self._path}' has {count} frames, its header says {expected:.0f}: is it "
                'truncated?',
                logger='current',
                level=logging.WARNING,
            )


class VideoWriter:
    """Writes uint8 frames of one size, [H, W] grey or [H, W, 3] RGB, to a video.

    A last odd column or row is cut off. The frame rate is rounded if MPEG-4 cannot store it.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._fps, self._writer = path, fps, None
        self._count = 0

    def write(self, frame: np.ndarray) -> None:
        """Appends a frame.

        Raises:
            OSError: If OpenCV has no encoder for files of this suffix, or for frames of this size.
        """
        bgr = np.repeat(frame[..., None], 3, axis=2) if frame.ndim == 2 else frame[..., ::-1]
        if self._writer is None:
            codec = cv2.VideoWriter.fourcc(*'mp4v')
            size = bgr.shape[1], bgr.shape[0]
            fps = storable_rate(self._fps)
            with _name_for_opencv(self._path) as name:
                self._writer = cv2.VideoWriter(name, codec, fps, size)
            if not self._writer.isOpened():
                raise OSError(
                    f'OpenCV cannot write a video of {size[0]}x{size[1]} pixels and {fps:g} frames '
                    'per second: write single images (--frames)'
                )
        self._writer.write(np.ascontiguousarray(bgr))
        self._count += 1

    def close(self) -> None:
        """Finishes the file.

        Raises:
            ValueError: If there was no frame.
            OSError: If frames are missing in the file, which OpenCV does not report.
        """
        if self._writer is None:
            raise ValueError('the video has no frames')
        self._writer.release()
        with _name_for_opencv(self._path) as name:
            written = cv2.VideoCapture(name).get(cv2.CAP_PROP_FRAME_COUNT)
        # some systems compute the number from the duration, and may be off by one
        if written < max(1, self._count - 1):
            is_full = shutil.disk_usage(self._path.parent).free < 2**20
            raise OSError(
                errno.ENOSPC if is_full else errno.EIO,
                f'only {written:.0f} of {self._count} frames could be written; is the disk full?',
            )


def storable_rate(fps: float) -> float:
    """Returns the nearest frame rate that OpenCV can write to an MPEG-4 video.

    OpenCV turns the rate into a fraction with a power of ten below, and MPEG-4 stores its terms in
    16 bits.

    Example:
        >>> storable_rate(29.97), storable_rate(105.611), storable_rate(90000)
        (29.97, 105.61, 65535)
    """
    decimals = next((n for n in (3, 2, 1) if fps * 10**n < _LARGEST_TERM), 0)
    return min(round(fps, decimals), _LARGEST_TERM)


@contextmanager
def _name_for_opencv(path: str | Path) -> Iterator[str]:
    """Yields a name of a file that OpenCV can open, which crashes on names that are not UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder) / f'video{Path(path).suffix if is_video(Path(path)) else ""}'
            link.symlink_to(Path(path).absolute())
            yield str(link)
    else:
        yield str(path)
