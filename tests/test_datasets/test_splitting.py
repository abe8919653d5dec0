"""Split of one folder into training and validation images."""

import pytest

from mmdiffdis.datasets import DIS5KDataset
from mmdiffdis.datasets.splitting import split_stems

VIDEOS = [f'{name}_{i:05}' for name in ('bike', 'dog', 'kite', 'goat', 'camel') for i in range(4)]


def series(stems):
    return {stem.split('_')[0] for stem in stems}


def test_no_video_is_divided():
    parts = split_stems(VIDEOS, 0.25)
    assert sorted(parts['train'] + parts['val']) == sorted(VIDEOS)
    assert not series(parts['train']) & series(parts['val'])
    assert len(series(parts['val'])) == 1 and len(parts['val']) == 4


def test_split_does_not_depend_on_the_order_of_stems():
    parts = split_stems(VIDEOS, 0.4)
    again = split_stems(VIDEOS[::-1], 0.4)
    assert {name: sorted(part) for name, part in parts.items()} == {
        name: sorted(part) for name, part in again.items()
    }
    assert series(parts['val']) == {'bike', 'kite'}


def test_one_series_is_divided_with_a_warning(monkeypatch):
    warnings = []
    monkeypatch.setattr(
        'mmdiffdis.datasets.splitting.print_log', lambda text, **_: warnings.append(text)
    )
    parts = split_stems([f'IMG_{i}' for i in range(10)], 0.2)
    assert len(parts['val']) == 2 and len(parts['train']) == 8
    assert 'all 10 images look like one series (IMG_0, ...)' in warnings[0]


def test_at_least_one_image_is_held_out():
    assert len(split_stems(['a', 'b'], 0.01)['val']) == 1


@pytest.mark.parametrize(('stems', 'share'), [(['a'], 0.2), (['a', 'b'], 0.0), (['a', 'b'], 1.0)])
def test_invalid_splits(stems, share):
    with pytest.raises(ValueError, match=r'expected two images or more and a share above 0'):
        split_stems(stems, share)


def test_dataset_takes_one_part(tmp_path, write_set):
    root = write_set(tmp_path, 'mine', VIDEOS)
    datasets = {
        part: DIS5KDataset(data_root=root / 'mine', part=part, val_share=0.4)
        for part in ('train', 'val', None)
    }
    assert [len(dataset) for dataset in datasets.values()] == [12, 8, 20]
    with pytest.raises(ValueError, match=r"part='test': expected one of \(None, 'train'"):
        DIS5KDataset(data_root=root / 'mine', part='test')
