"""Input files of a command line, and the names of their results."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmdiffdis.apis import find_pictures, inputs, name_results
from mmdiffdis.apis.inputs import name_results_in_tree


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder of two images."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    for name in ('a #1.jpg', 'b.c.png'):
        Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(folder / name)
    return folder


def test_folders_globs_and_files_are_sorted_and_taken_once(photos):
    (photos / 'sub').mkdir()
    (photos / 'b.c.png').rename(photos / 'sub' / 'b.c.png')
    found = find_pictures([str(photos), str(photos / '**' / '*.*'), str(photos / 'a #1.jpg')])
    assert found == [photos / 'a #1.jpg', photos / 'sub' / 'b.c.png']


def test_links_in_a_circle_are_entered_once(photos, monkeypatch):
    for place in ('sub', 'sub/[x]', '.hidden'):
        (photos / place).mkdir()
        (photos / place / f'in {Path(place).name}.png').touch()
    for name in ('one', 'two'):
        (photos / 'sub' / name).symlink_to(photos)
    (photos.parent / 'other').mkdir()
    (photos.parent / 'other' / 'linked.png').touch()
    (photos / 'zoo').symlink_to(photos.parent / 'other')
    names = ['b.c.png', 'in [x].png', 'in sub.png', 'linked.png']
    expected = sorted([*names, 'a #1.jpg'])
    for pattern in (photos / '**', photos / '**' / '*', photos / '**' / '**' / '*.*'):
        assert sorted(path.name for path in find_pictures([str(pattern)])) == expected, pattern
    assert [path.name for path in find_pictures([str(photos / 's*' / '**' / '*x*')])] == names[1:2]
    monkeypatch.chdir(photos)
    found = {str(path) for path in find_pictures(['**/*.png'])}
    assert found == {'b.c.png', 'sub/[x]/in [x].png', 'sub/in sub.png', 'zoo/linked.png'}


@pytest.mark.parametrize('pattern', ['', '*'])
def test_links_are_found_each_also_broken_ones(photos, pattern):
    (photos / 'gone 1.jpg').symlink_to('nowhere.jpg')
    (photos / 'gone 2.jpg').symlink_to('nowhere.jpg')
    (photos / 'circle.jpg').symlink_to('circle.jpg')
    (photos / 'again.jpg').symlink_to('b.c.png')
    (photos / 'folder').symlink_to(photos.parent)
    found = find_pictures([str(photos / pattern)])
    assert [path.name for path in found] == [
        'a #1.jpg',
        'again.jpg',  # of b.c.png
        'b.c.png',
        'circle.jpg',
        'gone 1.jpg',
        'gone 2.jpg',
    ]
    assert len(name_results(found, photos / 'out')) == 6


def test_brackets_in_a_real_name_are_no_pattern(photos):
    (photos / 'b.c.png').rename(photos / 'b[1].png')
    assert find_pictures([str(photos / 'b[1].png')]) == [photos / 'b[1].png']


def test_same_stems_keep_telling_names(tmp_path):
    one, two = tmp_path / 'one', tmp_path / 'two'
    images = [one / 'a.jpg', one / 'a.png', one / 'c.png', two / 'c.png', one / 'd.png']
    results = name_results(images, tmp_path / 'out')
    expected = ['a.jpg.png', 'a.png.png', 'one_c.png.png', 'two_c.png.png', 'd.png']
    assert [result.name for result in results] == expected


def test_names_that_differ_in_case_only_are_kept_apart(tmp_path):
    results = name_results([tmp_path / 'A.jpg', tmp_path / 'a.png'], tmp_path / 'out')
    assert [result.name for result in results] == ['A.jpg.png', 'a.png.png']


def test_disambiguated_name_never_takes_the_name_of_another(tmp_path):
    images = [tmp_path / 'a.jpg', tmp_path / 'a.png', tmp_path / 'a.jpg.tif']
    results = name_results(images, tmp_path / 'out')
    assert len({result.name for result in results}) == 3


def test_images_of_equal_names_are_refused(tmp_path):
    images = [tmp_path / 'x' / 'im' / 'a.jpg', tmp_path / 'y' / 'im' / 'a.jpg']
    with pytest.raises(ValueError, match=r'same names as others.*in separate runs'):
        name_results(images, tmp_path / 'out')


def test_sub_folders_are_passed_over_with_a_warning(photos, monkeypatch):
    warnings = []
    monkeypatch.setattr(inputs, 'print_log', lambda text, **_: warnings.append(text))
    (photos / '.cache').mkdir()
    assert len(find_pictures([str(photos)])) == 2 and not warnings
    (photos / 'day 2').mkdir()
    assert len(find_pictures([str(photos)])) == 2
    assert warnings == [
        f"1 sub-folder(s) of '{photos}' passed over; '{photos}/**/*' takes their files as well"
    ]


@pytest.mark.parametrize('store', ['annex', 'cache'])
def test_originals_behind_links_are_never_replaced(tmp_path, store):
    """git-annex, DVC and the Hugging Face cache keep images elsewhere, under links."""
    (tmp_path / store).mkdir()
    (tmp_path / 'photos').mkdir()
    original = tmp_path / store / ('a.png' if store == 'annex' else '0f3e')
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(original, format='PNG')
    photo = tmp_path / 'photos' / 'a.png'
    photo.symlink_to(original)
    with pytest.raises(ValueError, match='beside the inputs would be replaced'):
        name_results([photo], tmp_path / 'photos')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'a.png').symlink_to(photo)
    with pytest.raises(ValueError, match='beside the inputs would be replaced'):
        name_results([photo], tmp_path / 'out')
    original.unlink()  # not fetched yet: the link is still the user's
    with pytest.raises(ValueError, match='beside the inputs would be replaced'):
        name_results([photo], tmp_path / 'photos')


def test_links_of_equal_names_are_named_after_their_own_folders(tmp_path):
    (tmp_path / 'store').mkdir()
    images = []
    for name in ('one', 'two'):
        (tmp_path / name).mkdir()
        (tmp_path / 'store' / name).touch()
        images.append(tmp_path / name / 'a.png')
        images[-1].symlink_to(tmp_path / 'store' / name)
    results = name_results(images, tmp_path / 'out')
    assert [result.name for result in results] == ['one_a.png.png', 'two_a.png.png']


def test_results_are_in_the_sub_folders_of_their_images(tmp_path):
    photos = tmp_path / 'photos'
    images = [photos / 'a.jpg', photos / 'x' / 'a.jpg', photos / 'x' / 'a.png', tmp_path / 'b.jpg']

    def name(images):
        return name_results_in_tree(
            images, [photos], tmp_path / 'out', lambda image: image.stem[2:]
        )

    expected = ['a', 'x/a.jpg', 'x/a.png', 'b']
    assert name(images) == [tmp_path / 'out' / each for each in expected]
    with pytest.raises(ValueError, match="out/x' would be a result and a folder of results"):
        name([*images, photos / 'x.mp4'])
