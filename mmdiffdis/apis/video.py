"""Frames of videos, and videos of frames."""

import logging
import struct
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from mmengine.logging import print_log

VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.webm')
# An MP4 is a row of boxes (size, type, content), of which those of type 'uuid' are anybody's: 16
# bytes tell whose, and players skip what they do not know (ISO/IEC 14496-12).
_NOTE_NAME = b'mmdiffdis note\0\0'
_LONGEST_NOTE = 2**16


class VideoReader:
    """The frames of a video, uint8 [H, W, 3] RGB, upright; iterate over it once.

    A video whose end is missing ends early, with a warning: how many frames there should be is
    known only roughly.

    Attributes:
        fps: frames a second; those of a video of varying rate are taken to be evenly spaced.

    Raises:
        ValueError: if the file is no video that OpenCV can read.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise ValueError(f"cannot read '{path}' as a video.")
        self.fps = self._capture.get(cv2.CAP_PROP_FPS) or 25.0

    def __iter__(self) -> Iterator[np.ndarray]:
        promised, count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT), 0
        while True:
            there_is_one, frame = self._capture.read()
            if not there_is_one:
                break
            count += 1
            yield frame[..., ::-1]
        self._capture.release()
        if count < 0.9 * promised:
            print_log(
                f"'{self._path}' has {count} frames, its header says {promised:.0f}: is it whole?",
                logger='current',
                level=logging.WARNING,
            )


class VideoWriter:
    """Takes uint8 frames, [H, W] grey or [H, W, 3] RGB, all of one size."""

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._fps, self._writer = path, fps, None
        self._count = 0

    def write(self, frame: np.ndarray) -> None:
        """Append a frame.

        Raises:
            OSError: if OpenCV has no encoder for the file's kind, or for frames that narrow.
        """
        bgr = np.repeat(frame[..., None], 3, axis=2) if frame.ndim == 2 else frame[..., ::-1]
        if self._writer is None:
            codec = cv2.VideoWriter.fourcc(*'mp4v')
            size = bgr.shape[1], bgr.shape[0]
            self._writer = cv2.VideoWriter(str(self._path), codec, self._fps, size)
            if not self._writer.isOpened():
                raise OSError(
                    f'OpenCV cannot write a video of {size[0]}x{size[1]} pixels; write single '
                    'pictures (--frames).'
                )
        self._writer.write(np.ascontiguousarray(bgr))
        self._count += 1

    def close(self) -> None:
        """Finish the file.

        Raises:
            ValueError: if there was no frame.
            OSError: if the file does not hold all frames, of which OpenCV says nothing.
        """
        if self._writer is None:
            raise ValueError('the video has no frames.')
        self._writer.release()
        written = cv2.VideoCapture(str(self._path)).get(cv2.CAP_PROP_FRAME_COUNT)
        # systems that reckon the number from the duration may be one off
        if written < max(1, self._count - 1):
            raise OSError(
                f'only {written:.0f} of {self._count} frames could be written; is the disk full?'
            )


def append_note(path: Path, note: str) -> None:
    """Adds a text to a finished MP4 file, which plays as before; OpenCV writes no metadata."""
    content = _NOTE_NAME + note.encode()
    with path.open('ab') as file:
        file.write(struct.pack('>I4s', 8 + len(content), b'uuid') + content)


def read_note(path: Path) -> str:
    """The text that ``append_note`` added to a file last, or '' if it holds none."""
    with path.open('rb') as file:
        file.seek(max(0, path.stat().st_size - _LONGEST_NOTE))
        _, found, note = file.read().rpartition(b'uuid' + _NOTE_NAME)
    return note.decode(errors='replace') if found else ''
