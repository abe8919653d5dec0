"""Files written atomically, and settings beside results."""

import json
import os

import pytest

from mmdiffdis.utils.files import atomic_write, record_settings, save_json, stem_of


def test_failed_write_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / 'new' / 'a.json'
    save_json({'a': 1}, path)
    with pytest.raises(ZeroDivisionError), atomic_write(path) as temporary:
        assert temporary.suffix == '.json' and temporary.parent == path.parent
        with atomic_write(path) as other:  # as of a process of the same id in another container
            assert other != temporary
            other.write_text('{"a": 1}')
        temporary.write_text('half')
        raise ZeroDivisionError
    assert [*path.parent.iterdir()] == [path] and json.loads(path.read_text()) == {'a': 1}


def test_changed_settings_are_named(tmp_path):
    settings = dict(side=(8, 8), files=tmp_path, seed=0)  # JSON has neither tuples nor paths
    for _ in range(2):
        record_settings(settings, tmp_path / 'out')
    with pytest.raises(ValueError, match=r'out holds results of other settings: seed, tta changed'):
        record_settings(settings | dict(seed=1, tta=True), tmp_path / 'out')


def test_stems_are_composed():
    assert stem_of('a/e\u0301.b.jpg') == '\xe9.b'


def test_long_names_are_written_as_long_as_the_name_itself_fits(tmp_path):
    path = tmp_path / ('a' * 250 + '.png')
    with atomic_write(path) as temporary:
        temporary.write_text('whole')
    assert path.read_text() == 'whole' and [*tmp_path.iterdir()] == [path]


def test_stem_that_is_not_utf_8_can_be_encoded():
    stem = stem_of(os.fsdecode(b'x/caf\xe9.jpg'))
    assert stem == 'caf\\xe9' and stem.encode()
