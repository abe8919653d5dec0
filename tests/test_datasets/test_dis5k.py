"""Pairing of images and masks."""

import unicodedata
from pathlib import Path

import pytest
from mmengine.dataset import ConcatDataset
from mmseg.registry import DATASETS
from PIL import Image

from mmdiffdis.datasets import DIS5KDataset

STEMS = ('1#Accessories#1#Bag#38_4ae60c73b6_o', 'a b  c', 'v1.2.final', 'ünï-日本')


def names(dataset: DIS5KDataset) -> list[str]:
    return [dataset.get_data_info(index)['stem'] for index in range(len(dataset))]


def test_items_are_sorted_and_named(tmp_path, write_set):
    root = write_set(tmp_path, stems=STEMS[::-1])
    dataset = DIS5KDataset(data_root=root, subset='DIS-VD')
    assert names(dataset) == sorted(STEMS)
    item = dataset.get_data_info(0)
    assert item['subset'] == 'DIS-VD'
    assert item['img_path'] == str(root / 'DIS-VD' / 'im' / f'{item["stem"]}.jpg')
    assert item['seg_map_path'] == str(root / 'DIS-VD' / 'gt' / f'{item["stem"]}.png')
    assert dataset.metainfo['classes'] == ('background', 'foreground')


def test_several_subsets_keep_their_names(tmp_path, write_set):
    write_set(tmp_path, 'DIS-TE1', ('x', 'y'))
    write_set(tmp_path, 'DIS-TE2', ('x',))
    dataset = DATASETS.build(
        {'type': 'DIS5KDataset', 'data_root': str(tmp_path), 'subset': ['DIS-TE2', 'DIS-TE1']}
    )
    items = [dataset.get_data_info(index) for index in range(3)]
    assert [(i['subset'], i['stem']) for i in items] == [
        ('DIS-TE2', 'x'),
        ('DIS-TE1', 'x'),
        ('DIS-TE1', 'y'),
    ]


@pytest.mark.parametrize('subset', ['', '.'])
def test_root_itself_may_hold_the_folders(tmp_path, write_set, subset, monkeypatch):
    write_set(tmp_path, 'mine')
    dataset = DIS5KDataset(data_root=tmp_path / 'mine', subset=subset)
    assert len(dataset) == 3
    assert dataset.get_data_info(0)['subset'] == 'mine'
    monkeypatch.chdir(tmp_path / 'mine')
    assert DIS5KDataset(data_root='.', subset=subset).get_data_info(0)['subset'] == 'mine'


@pytest.mark.parametrize('alias', ['mask', 'masks'])
def test_other_names_of_the_truth_folder(tmp_path, write_set, alias):
    root = write_set(tmp_path)
    (root / 'DIS-VD' / 'gt').rename(root / 'DIS-VD' / alias)
    assert len(DIS5KDataset(data_root=root, subset='DIS-VD')) == 3


def test_any_suffix_in_any_case_and_foreign_files_are_passed_over(tmp_path, write_set):
    folder = write_set(tmp_path, stems=('a', 'b')) / 'DIS-VD'
    (folder / 'im' / 'a.jpg').rename(folder / 'im' / 'a.JPEG')
    Image.new('L', (56, 40)).save(folder / 'gt' / 'b.TIF')
    (folder / 'gt' / 'b.png').unlink()
    for junk in ('._a.jpg', 'Thumbs.db', '.DS_Store', 'notes.txt'):
        (folder / 'im' / junk).write_bytes(b'')
    assert names(DIS5KDataset(data_root=tmp_path, subset='DIS-VD')) == ['a', 'b']


def test_decomposed_and_composed_names_are_the_same_stem(tmp_path, write_set):
    folder = write_set(tmp_path, stems=('é',)) / 'DIS-VD'
    composed, decomposed = (unicodedata.normalize(form, 'é') for form in ('NFC', 'NFD'))
    (folder / 'im' / 'é.jpg').rename(folder / 'im' / f'{decomposed}.jpg')
    assert names(DIS5KDataset(data_root=tmp_path, subset='DIS-VD')) == [composed]


def test_indices_and_concatenation(tmp_path, write_set):
    write_set(tmp_path, 'DIS-TE1')
    write_set(tmp_path, 'DIS-TE2')
    first = DIS5KDataset(data_root=tmp_path, subset='DIS-TE1', indices=2)
    assert names(first) == ['a', 'b']
    both = ConcatDataset([first, DIS5KDataset(data_root=tmp_path, subset='DIS-TE2', indices=[2])])
    assert len(both) == 3
    assert both.get_data_info(2)['subset'] == 'DIS-TE2'


def test_all_problems_are_named_at_once(tmp_path, write_set):
    folder = write_set(tmp_path, stems=('a', 'b', 'c', 'd')) / 'DIS-VD'
    (folder / 'gt' / 'a.png').unlink()
    (folder / 'im' / 'b.jpg').unlink()
    Image.new('RGB', (56, 40)).save(folder / 'im' / 'c.png')
    with pytest.raises(ValueError) as caught:
        DIS5KDataset(data_root=tmp_path, subset='DIS-VD')
    message = str(caught.value)
    assert "1 image(s) without a mask: 'im/a.jpg'" in message
    assert "1 mask(s) without an image: 'gt/b.png'" in message
    assert "1 file(s) whose stem another file has too: 'im/c.png'" in message
    assert 'rename or move away' in message


def test_long_lists_are_counted_and_cut(tmp_path, write_set):
    folder = write_set(tmp_path, stems=tuple('abcdefgh')) / 'DIS-VD'
    for stem in 'abcdefg':
        (folder / 'gt' / f'{stem}.png').unlink()
    with pytest.raises(ValueError, match=r"7 image\(s\) without a mask: .*'im/e.jpg' and 2 more"):
        DIS5KDataset(data_root=tmp_path, subset='DIS-VD')


def test_empty_folder_says_so(tmp_path):
    for folder in ('im', 'gt'):
        (tmp_path / folder).mkdir()
    with pytest.raises(ValueError, match=r"no image file in '.*im'"):
        DIS5KDataset(data_root=tmp_path)


def test_missing_truth_folder(tmp_path, write_set):
    root = write_set(tmp_path)
    (root / 'DIS-VD' / 'gt').rename(root / 'DIS-VD' / 'labels')
    with pytest.raises(FileNotFoundError, match=r"gt\|mask\|masks.*folders \['im', 'labels'\]"):
        DIS5KDataset(data_root=root, subset='DIS-VD')


def test_missing_root_is_named():
    with pytest.raises(FileNotFoundError, match=r'nowhere.*does not exist'):
        DIS5KDataset(data_root=Path('nowhere'), subset='DIS-VD')


def test_empty_list_of_subsets(tmp_path):
    with pytest.raises(ValueError, match='`subset` is an empty list'):
        DIS5KDataset(data_root=tmp_path, subset=[])
