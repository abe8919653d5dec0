"""Reading and writing of videos."""

import logging
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from mmengine.logging import print_log

VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.webm')


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
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise ValueError(f"cannot read '{path}' as a video")
        self.fps = self._capture.get(cv2.CAP_PROP_FPS) or 25.0

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

    A last odd column or row is cut off.
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
            self._writer = cv2.VideoWriter(str(self._path), codec, self._fps, size)
            if not self._writer.isOpened():
                raise OSError(
                    f'OpenCV cannot write a video of {size[0]}x{size[1]} pixels: write single '
                    'images (--frames)'
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
        written = cv2.VideoCapture(str(self._path)).get(cv2.CAP_PROP_FRAME_COUNT)
        # some systems compute the number from the duration, and may be off by one
        if written < max(1, self._count - 1):
            raise OSError(
                f'only {written:.0f} of {self._count} frames could be written; is the disk full?'
            )
