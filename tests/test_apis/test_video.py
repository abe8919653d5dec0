"""Videos that are written and read again."""

import resource
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmdiffdis.apis import video
from mmdiffdis.apis.video import VideoReader, VideoWriter, append_note, read_note


@pytest.fixture
def clip(tmp_path, draw_pair) -> Path:
    """A video of three frames."""
    writer = VideoWriter(tmp_path / 'clip.mp4', fps=8)
    for seed in range(3):
        writer.write(draw_pair(seed)[0])
    writer.close()
    return tmp_path / 'clip.mp4'


def test_video_with_a_note_has_the_same_frames(clip):
    frames = list(VideoReader(clip))
    append_note(clip, '{"seed": 3, "picture": "straße"}')
    assert read_note(clip) == '{"seed": 3, "picture": "straße"}'
    reader = VideoReader(clip)
    np.testing.assert_array_equal(list(reader), frames)
    assert reader.fps == 8 and len(frames) == 3


def test_video_without_its_end_is_announced(tmp_path, clip, monkeypatch):
    said = []
    monkeypatch.setattr(video, 'print_log', lambda text, **_: said.append(text))
    assert len(list(VideoReader(clip))) == 3 and not said
    whole = tmp_path / 'whole.avi'
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*'MJPG'), 24, (64, 64))
    for _ in range(40):
        writer.write(np.zeros((64, 64, 3), np.uint8))
    writer.release()
    (tmp_path / 'half.avi').write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert 0 < len(list(VideoReader(tmp_path / 'half.avi'))) < 36
    assert 'frames, its header says 40: is it whole?' in said[0]


def test_full_disk_is_reported(tmp_path):
    writer = VideoWriter(tmp_path / 'clip.mp4', fps=8)
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # of a file, in bytes
    try:
        with pytest.raises(OSError, match='only 0 of 9 frames could be written; is the disk full'):
            for _ in range(9):
                writer.write(noise)
            writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_video_without_a_note(clip, tmp_path):
    assert read_note(clip) == ''
    (tmp_path / 'empty.mp4').touch()
    assert read_note(tmp_path / 'empty.mp4') == ''
