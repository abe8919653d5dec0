"""Videos that are written and read again."""

from pathlib import Path

import numpy as np
import pytest

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


def test_video_without_a_note(clip, tmp_path):
    assert read_note(clip) == ''
    (tmp_path / 'empty.mp4').touch()
    assert read_note(tmp_path / 'empty.mp4') == ''
