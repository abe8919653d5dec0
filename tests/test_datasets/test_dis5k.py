"""Pairing of images and masks."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from image_files import exif, move_exif_behind_pixels
from mmengine.config import Config
from mmengine.dataset import ConcatDataset
from mmseg.registry import DATASETS
from PIL import Image

from mmdiffdis.datasets import DIS5KDataset, dis5k, pairing
from mmdiffdis.engine.run_record_hook import fingerprint

CONFIG = Path(__file__).parents[2] / 'configs/_base_/datasets/dis5k_1024x1024.py'
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


@pytest.mark.parametrize(
    ('name', 'alias'),
    [('gt', 'mask'), ('gt', 'masks'), ('gt', 'GT'), ('gt', 'labels')]
    + [('im', 'image'), ('im', 'images'), ('im', 'Imgs')],
)
def test_other_names_of_the_folders(tmp_path, write_set, name, alias):
    root = write_set(tmp_path)
    (root / 'DIS-VD' / name).rename(root / 'DIS-VD' / alias)
    assert len(DIS5KDataset(data_root=root, subset='DIS-VD')) == 3


def test_suffixes_have_any_case_and_other_files_are_ignored(tmp_path, write_set):
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
    assert 'invalid image/mask pairs:' in message and 'rename, replace or move away' in message


@pytest.mark.parametrize(('name', 'lost'), [('im/b.jpg', 200), ('gt/b.png', 40), ('im/c.gif', 30)])
def test_truncated_files_are_found_at_start(tmp_path, write_set, name, lost):
    folder = write_set(tmp_path) / 'DIS-VD'
    image = Image.open(folder / 'im' / 'c.jpg').convert('P')
    (folder / 'im' / 'c.jpg').unlink()
    image.save(folder / 'im' / 'c.gif')
    assert len(DIS5KDataset(data_root=tmp_path, subset='DIS-VD')) == 3
    path = folder / name
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(ValueError, match=rf"1 unreadable file\(s\): '{name}' \(cut off or damaged"):
        DIS5KDataset(data_root=tmp_path, subset='DIS-VD')


def test_data_appended_to_a_file_is_no_damage(tmp_path, write_set):
    folder = write_set(tmp_path) / 'DIS-VD'
    for path in (folder / 'im' / 'b.jpg', folder / 'gt' / 'b.png'):
        path.write_bytes(path.read_bytes() + b'data that some phones append')
    assert len(DIS5KDataset(data_root=tmp_path, subset='DIS-VD')) == 3


def test_first_mask_of_each_kind_of_file_is_read_at_start(tmp_path, write_set):
    folder = write_set(tmp_path) / 'DIS-VD'
    loader = {'type': 'LoadDISAnnotations'}
    Image.new('RGB', (56, 40), 'red').save(folder / 'gt' / 'b.png')
    assert len(DIS5KDataset(data_root=tmp_path, subset='DIS-VD')) == 3  # nothing loads masks
    with pytest.raises(ValueError, match=r"unusable mask\(s\): 'gt/b.png'.*it is coloured"):
        DIS5KDataset(data_root=tmp_path, subset='DIS-VD', pipeline=[loader])


def test_masks_are_read_at_start_as_in_the_pipeline(tmp_path, write_set):
    folder = write_set(tmp_path) / 'DIS-VD'
    Image.new('L', (56, 40), 3).save(folder / 'gt' / 'a.png')
    arguments = {'data_root': tmp_path, 'subset': 'DIS-VD'}
    loader = {'type': 'LoadDISAnnotations'}
    with pytest.raises(ValueError, match="'gt/a.png'.*class indices"):
        DIS5KDataset(**arguments, pipeline=[loader])
    assert len(DIS5KDataset(**arguments, pipeline=[{**loader, 'full_scale': 3}])) == 3


def test_message_names_the_likely_reason(tmp_path, write_set):
    folder = write_set(tmp_path) / 'DIS-VD'
    (folder / 'im' / 'a.jpg').rename(folder / 'im' / 'a.jxl')
    Image.open(folder / 'im' / 'b.jpg').save(folder / 'im' / 'b.jpg', exif=exif(6))
    with pytest.raises(ValueError) as caught:
        DIS5KDataset(data_root=tmp_path, subset='DIS-VD')
    assert "'gt/a.png' (of 'im/a.jxl', the format is not read)" in str(caught.value)
    assert '56x40, its image 40x56; one is turned: compare their EXIF' in str(caught.value)


def test_folders_inside_an_empty_one_are_named(tmp_path, write_set):
    folder = write_set(tmp_path) / 'DIS-VD'
    (folder / 'im').rename(folder / 'inner')
    (folder / 'im').mkdir()
    (folder / 'inner').rename(folder / 'im' / 'inner')
    with pytest.raises(ValueError, match=r"no image file in .*, but the folder\(s\) \['inner'\]"):
        DIS5KDataset(data_root=tmp_path, subset='DIS-VD')


def write_grey(path: Path, size: tuple[int, int], **options) -> None:
    Image.new('L', size, 200).save(path, **options)


# Name -> a function that breaks the pair 'b' of a good set, and its message.
BREAKAGES = {
    'missing mask': (lambda im, gt: gt.unlink(), r"1 image\(s\) without a mask: 'im/b\.jpg'"),
    'missing image': (lambda im, gt: im.unlink(), r"1 mask\(s\) without an image: 'gt/b\.png'"),
    'duplicate mask': (
        lambda im, gt: write_grey(gt.with_suffix('.tif'), (56, 40)),
        r"1 file\(s\) whose stem another file has too: 'gt/b\.tif'",
    ),
    'empty image': (lambda im, gt: im.write_bytes(b''), r"1 empty file\(s\): 'im/b\.jpg'"),
    'empty mask': (lambda im, gt: gt.write_bytes(b''), r"1 empty file\(s\): 'gt/b\.png'"),
    'text called .png': (
        lambda im, gt: gt.write_text('mask'),
        r"1 unreadable file\(s\): 'gt/b\.png' \(no image\)",
    ),
    'header cut': (
        lambda im, gt: im.write_bytes(im.read_bytes()[:8]),
        r"1 unreadable file\(s\): 'im/b\.jpg'",
    ),
    'other size': (
        lambda im, gt: write_grey(gt, (56, 41)),
        r"1 mask\(s\) of another size than their image: 'gt/b\.png' \(56x41, its image 56x40\)",
    ),
    'turned': (lambda im, gt: write_grey(gt, (40, 56)), r'40x56, its image 56x40'),
    'turned by EXIF only': (lambda im, gt: write_grey(gt, (56, 40), exif=exif(6)), '40x56'),
    'folder called .png': (
        lambda im, gt: (gt.unlink(), gt.mkdir()),
        r"1 folder\(s\) or broken link\(s\) named like an image: 'gt/b\.png'",
    ),
    'broken link': (
        lambda im, gt: (gt.unlink(), gt.symlink_to('gone.png')),
        r"1 folder\(s\) or broken link\(s\) named like an image: 'gt/b\.png'",
    ),
}


@pytest.mark.parametrize('name', BREAKAGES)
def test_broken_sets_fail_at_the_start(tmp_path, write_set, name):
    root = write_set(tmp_path)
    break_pair, message = BREAKAGES[name]
    break_pair(root / 'DIS-VD' / 'im' / 'b.jpg', root / 'DIS-VD' / 'gt' / 'b.png')
    with pytest.raises(ValueError, match=message):
        DIS5KDataset(data_root=root, subset='DIS-VD')


def test_unreadable_permissions_are_named(tmp_path, write_set, monkeypatch):
    """`read_size` is replaced because root may read everything."""
    root = write_set(tmp_path)

    def deny(path):
        if path.name == 'b.png':
            raise PermissionError(13, 'Permission denied', str(path))
        return 56, 40

    monkeypatch.setattr(pairing, 'read_size', deny)
    with pytest.raises(
        ValueError, match=r"1 unreadable file\(s\): 'gt/b\.png' \(Permission denied"
    ):
        DIS5KDataset(data_root=root, subset='DIS-VD')


@pytest.mark.parametrize(
    'change',
    [
        lambda im, gt: write_grey(gt, (56, 40)),
        lambda im, gt: Image.new('L', (56, 40)).save(gt),
        lambda im, gt: (write_grey(im, (1, 1)), write_grey(gt, (1, 1))),
        lambda im, gt: Image.new('RGBA', (56, 40), (90, 90, 90, 0)).save(gt),
        lambda im, gt: Image.new('RGB', (56, 40), (90, 90, 90)).save(gt),
        lambda im, gt: (write_grey(im, (56, 40), exif=exif(6)), write_grey(gt, (40, 56))),
        lambda im, gt: (write_grey(im, (40, 56)), write_grey(gt, (56, 40), exif=exif(6))),
        lambda im, gt: im.rename(im.with_suffix('.JPG')),
    ],
)
def test_unusual_pairs_are_valid_training_samples(tmp_path, write_set, change):
    """All foreground, all background, one pixel, alpha, RGB, EXIF on one side, capital suffix."""
    root = write_set(tmp_path)
    change(root / 'DIS-VD' / 'im' / 'b.jpg', root / 'DIS-VD' / 'gt' / 'b.png')
    pipeline = Config.fromfile(CONFIG).train_pipeline
    dataset = DIS5KDataset(data_root=root, subset='DIS-VD', pipeline=pipeline)
    for seed in range(4):
        np.random.seed(seed)
        packed = dataset[1]
        assert packed['inputs'].shape == (3, 1024, 1024)
        alpha = packed['data_samples'].gt_alpha.data
        assert alpha.shape == (1, 1024, 1024) and 0 <= alpha.min() <= alpha.max() <= 1


def test_orientation_behind_the_pixels_is_applied_before_sizes_are_compared(tmp_path, write_set):
    root = write_set(tmp_path)
    mask = root / 'DIS-VD' / 'gt' / 'b.png'
    write_grey(mask, (40, 56), exif=exif(6))
    move_exif_behind_pixels(mask)
    assert len(DIS5KDataset(data_root=root, subset='DIS-VD')) == 3


def test_problems_of_all_subsets_are_named_at_once(tmp_path, write_set):
    for subset in ('DIS-TE1', 'DIS-TE2'):
        folder = write_set(tmp_path, subset) / subset
        (folder / 'gt' / 'b.png').unlink()
    with pytest.raises(ValueError, match=r"DIS-TE1': 1 image\(s\)[^\0]*DIS-TE2': 1 image\(s\)"):
        DIS5KDataset(data_root=tmp_path, subset=['DIS-TE1', 'DIS-TE2'])


def test_subset_named_twice(tmp_path):
    with pytest.raises(ValueError, match=r'duplicate names in `subset`: \[.DIS-TE1., .DIS-TE1.\]'):
        DIS5KDataset(data_root=tmp_path, subset=['DIS-TE1', 'DIS-TE1'])


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


def test_missing_mask_folder(tmp_path, write_set):
    root = write_set(tmp_path)
    (root / 'DIS-VD' / 'gt').rename(root / 'DIS-VD' / 'truths')
    with pytest.raises(FileNotFoundError, match=r"gt\|gts\|mask\|.*folders \['im', 'truths'\]"):
        DIS5KDataset(data_root=root, subset='DIS-VD')


def test_missing_root_is_named():
    with pytest.raises(FileNotFoundError, match=r'nowhere.*does not exist'):
        DIS5KDataset(data_root=Path('nowhere'), subset='DIS-VD')


def test_empty_list_of_subsets(tmp_path):
    with pytest.raises(ValueError, match=r'subset=\[\]: expected at least one name'):
        DIS5KDataset(data_root=tmp_path, subset=[])


@pytest.fixture
def warnings(monkeypatch) -> list[str]:
    """Returns the warnings of the data set."""
    texts = []
    monkeypatch.setattr(dis5k, 'print_log', lambda text, **_: texts.append(text))
    return texts


@pytest.mark.parametrize('name', ['{}_mask.png', '{}_rgba.png', '{}.jpg.png', '{}-GT.png'])
def test_masks_named_as_other_tools_do(tmp_path, write_set, name):
    gt = write_set(tmp_path) / 'DIS-VD' / 'gt'
    for stem in 'abc':
        (gt / f'{stem}.png').rename(gt / name.format(stem))
    dataset = DIS5KDataset(data_root=tmp_path, subset='DIS-VD')
    assert names(dataset) == ['a', 'b', 'c']
    assert dataset.get_data_info(1)['seg_map_path'] == str(gt / name.format('b'))


def test_mask_of_the_same_stem_comes_first(tmp_path, write_set):
    gt = write_set(tmp_path) / 'DIS-VD' / 'gt'
    write_grey(gt / 'a_mask.png', (56, 40))
    with pytest.raises(ValueError, match=r"1 mask\(s\) without an image: 'gt/a_mask\.png'"):
        DIS5KDataset(data_root=tmp_path, subset='DIS-VD')
    (gt / 'a.png').unlink()
    write_grey(gt / 'a_rgba.png', (56, 40))  # which of the two?
    with pytest.raises(
        ValueError, match=r"2 mask\(s\) without an image: 'gt/a_mask\.png', 'gt/a_r"
    ):
        DIS5KDataset(data_root=tmp_path, subset='DIS-VD')


def test_what_is_passed_over_is_said(tmp_path, write_set, warnings):
    folder = write_set(tmp_path) / 'DIS-VD'
    assert DIS5KDataset(data_root=tmp_path, subset='DIS-VD') and not warnings
    (folder / 'im' / 'more').mkdir()
    (folder / 'masks').mkdir()
    (folder / 'im' / 'raw.CR2').write_bytes(b'raw')
    (folder / 'im' / '.thumbnails').mkdir()
    assert len(DIS5KDataset(data_root=tmp_path, subset='DIS-VD')) == 3
    assert [text.removeprefix(f"'{folder}': ") for text in warnings] == [
        "2 sub-folder(s) passed over: 'DIS-VD/masks', 'im/more'",
        "1 image(s) passed over: 'im/raw.CR2', the format is not read",
    ]


def test_masks_of_another_size_are_resized_and_listed_if_asked_for(tmp_path, write_set, warnings):
    gt = write_set(tmp_path) / 'DIS-VD' / 'gt'
    write_grey(gt / 'b.png', (57, 41))
    arguments = {'data_root': tmp_path, 'subset': 'DIS-VD'}
    arguments['pipeline'] = [{'type': 'LoadDISImage'}, {'type': 'LoadDISAnnotations'}]
    with pytest.raises(ValueError, match='or set resize_masks=True of the data set'):
        DIS5KDataset(**arguments)
    dataset = DIS5KDataset(**arguments, resize_masks=True)
    assert [item['gt_alpha'].shape for item in dataset] == [(40, 56)] * 3
    assert len(warnings) == 1
    assert warnings[0].endswith("1 mask(s) resized: 'gt/b.png' (57x41, its image 56x40)")
    write_grey(gt / 'b.png', (40, 56))
    with pytest.raises(ValueError, match='one is turned'):
        DIS5KDataset(**arguments, resize_masks=True)


def test_names_that_are_not_utf_8(tmp_path, write_set):
    stem = os.fsdecode(b'caf\xe9')
    write_set(tmp_path, stems=(f'{stem}1', f'{stem}2', 'b', 'c'))
    arguments = {'data_root': tmp_path, 'subset': 'DIS-VD'}
    assert names(DIS5KDataset(**arguments)) == ['b', 'c', r'caf\xe91', r'caf\xe92']
    parts = [names(DIS5KDataset(**arguments, part=part)) for part in ('train', 'val')]
    assert sorted(parts[0] + parts[1]) == names(DIS5KDataset(**arguments))
    dataset = DIS5KDataset(**arguments)
    assert fingerprint(dataset)['files'] == 8
