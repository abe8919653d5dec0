"""Reading and writing of videos."""

import os
import resource
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mmdiffdis.apis import video
from mmdiffdis.apis.video import VideoReader, VideoWriter
from mmdiffdis.utils.files import is_disk_full


@pytest.fixture
def clip(tmp_path, draw_pair) -> Path:
    """A video of three frames."""
    writer = VideoWriter(tmp_path / 'clip.mp4', fps=8)
    for seed in range(3):
        writer.write(draw_pair(seed)[0])
    writer.close()
    return tmp_path / 'clip.mp4'


def test_video_is_read_as_written(clip, draw_pair):
    reader = VideoReader(clip)
    frames = list(reader)
    assert reader.fps == 8 and len(frames) == 3
    for seed, frame in enumerate(frames):
        assert frame.shape == (40, 56, 3)
        assert np.abs(frame.astype(int) - draw_pair(seed)[0]).mean() < 20  # lossy


def test_narrow_video_cannot_be_written(tmp_path):
    writer = VideoWriter(tmp_path / 'clip.mp4', fps=8)
    with pytest.raises(OSError, match=r'cannot write a video of 1x40 pixels.*--frames'):
        writer.write(np.zeros((40, 1), np.uint8))


def test_truncated_video_is_warned_of(tmp_path, clip, monkeypatch):
    warnings = []
    monkeypatch.setattr(video, 'print_log', lambda text, **_: warnings.append(text))
    assert len(list(VideoReader(clip))) == 3 and not warnings
    whole = tmp_path / 'whole.avi'
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*'MJPG'), 24, (64, 64))
    for _ in range(40):
        writer.write(np.zeros((64, 64, 3), np.uint8))
    writer.release()
    (tmp_path / 'half.avi').write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert 0 < len(list(VideoReader(tmp_path / 'half.avi'))) < 36
    assert 'frames, its header says 40: is it truncated?' in warnings[0]


@pytest.mark.parametrize('free', [0, 2**30])
def test_full_disk_is_reported(tmp_path, monkeypatch, free):
    usage = SimpleNamespace(free=free)
    monkeypatch.setattr(video.shutil, 'disk_usage', lambda folder: usage)
    writer = VideoWriter(tmp_path / 'clip.mp4', fps=8)
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # of a file, in bytes
    try:
        with pytest.raises(OSError, match='only 0 of 9 frames could be written') as caught:
            for _ in range(9):
                writer.write(noise)
            writer.close()
        assert is_disk_full(caught.value) == (free == 0)  # or the file was limited
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize('fps', [23.976, 29.97, 66.667, 105.611, 211.222, 1000, 90000, 0.5])
def test_every_frame_rate_can_be_written(tmp_path, fps):
    writer = VideoWriter(tmp_path / 'clip.mp4', fps)
    for seed in range(3):
        writer.write(np.full((120, 160), 60 * seed, np.uint8))
    writer.close()
    reader = VideoReader(tmp_path / 'clip.mp4')
    assert reader.fps == pytest.approx(min(fps, 65535), rel=1e-4) and len(list(reader)) == 3


@pytest.mark.parametrize('fps', [0.0, -1.0, float('nan'), float('inf')])
def test_frame_rate_that_is_none_becomes_the_usual_one(monkeypatch, fps):
    capture = SimpleNamespace(isOpened=lambda: True, get=lambda what: fps)
    monkeypatch.setattr(cv2, 'VideoCapture', lambda name: capture)
    assert VideoReader('clip.avi').fps == 25


@pytest.mark.parametrize(
    'suffix', ['3gp', 'MPG', 'avi', 'flv', 'm2ts', 'mkv', 'mov', 'mts', 'ogv', 'ts', 'webm', 'wmv']
)
def test_suffixes_of_videos(suffix):
    assert video.is_video(Path(f'a.b.{suffix}')) and not video.is_video(Path(f'{suffix}.png'))


def test_names_that_are_not_utf_8(tmp_path, draw_pair):
    """OpenCV would end the process."""
    folder = tmp_path / os.fsdecode(b'd\xe9fil\xe9')
    folder.mkdir()
    path = folder / os.fsdecode(b'caf\xe9.mp4')
    writer = VideoWriter(path, fps=8)
    for seed in range(3):
        writer.write(draw_pair(seed)[0])
    writer.close()
    assert [*folder.iterdir()] == [path] and len(list(VideoReader(path))) == 3
