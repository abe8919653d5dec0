"""Files written atomically, checks before long computations, locks, settings beside results."""

import errno
import json
import os

import pytest
from helpers import locked_by_another_process

from mmdiffdis.utils.files import (
    atomic_write,
    check_writable,
    is_disk_full,
    lock_folder,
    record_settings,
    refuse_folder_of_inputs,
    save_json,
    stem_of,
)


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


def test_targets_are_tried_without_a_trace(tmp_path):
    check_writable(tmp_path / 'new' / 'a.json', tmp_path / 'b.json')
    assert [path.name for path in tmp_path.iterdir()] == ['new']
    assert not [*(tmp_path / 'new').iterdir()]


def test_targets_that_cannot_be_written_are_refused(tmp_path, monkeypatch):
    with pytest.raises(IsADirectoryError, match='is a folder: expected the name of a file'):
        check_writable(tmp_path)
    (tmp_path / 'file').touch()
    for path in (tmp_path / 'file' / 'a.json', tmp_path / 'file' / 'b' / 'a.json'):
        with pytest.raises(OSError, match=r"choose another --out: '.*file"):
            check_writable(path)

    def full(dir):
        raise OSError(errno.ENOSPC, 'No space left on device', str(dir))

    monkeypatch.setattr('tempfile.TemporaryFile', full)
    with pytest.raises(OSError, match='No space left on device; choose another --out') as caught:
        check_writable(tmp_path / 'a.json')
    assert is_disk_full(caught.value)
    assert not is_disk_full(ValueError()) and not is_disk_full(FileNotFoundError(2, 'gone'))


def test_locked_folder_is_refused_until_the_other_process_ends(tmp_path):
    for _ in range(2):
        with (
            locked_by_another_process(tmp_path / 'out' / '.lock'),
            pytest.raises(BlockingIOError, match="another process is writing to '.*out'"),
            lock_folder(tmp_path / 'out'),
        ):
            pass
        with lock_folder(tmp_path / 'out'):
            pass


def test_folder_of_inputs_is_no_folder_for_results(tmp_path):
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'link').symlink_to('photos')
    inputs = [tmp_path / 'nowhere', tmp_path / 'photos']
    with pytest.raises(ValueError, match='link. is a folder of inputs: choose another'):
        refuse_folder_of_inputs(tmp_path / 'link', inputs)
    refuse_folder_of_inputs(tmp_path / 'nowhere', inputs)
    refuse_folder_of_inputs(tmp_path / 'photos' / 'sub', inputs)
