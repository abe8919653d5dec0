"""tools/analysis_tools/check_dataset.py on good and broken sets."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import load_tool
from image_files import exif
from PIL import Image

tool = load_tool('analysis_tools/check_dataset.py')


def test_good_set_has_nothing_wrong(tmp_path, write_set, capsys):
    root = write_set(tmp_path / 'set')
    out = tmp_path / 'out'
    assert tool.main([str(root), '--out', str(out), '--workers', '1']) == 0
    printed = capsys.readouterr().out
    assert 'DIS-VD: 3 pairs' in printed and '56x40' in printed and 'nothing wrong' in printed
    written = json.loads((out / 'report.json').read_text())['subsets']['DIS-VD']
    assert written['pairs'] == 3 and written['problems'] == {}
    assert written['smallest'] == written['largest'] == [56, 40]
    masks = [np.array(Image.open(path)) for path in (root / 'DIS-VD' / 'gt').iterdir()]
    expected = np.mean([(mask == 255).mean() for mask in masks])
    assert written['mask_levels'][255] == pytest.approx(expected)
    assert sum(written['mask_levels']) == pytest.approx(1)
    assert sum(written['image_levels']) == pytest.approx(1)
    for name in ('histograms.png', 'contact_sheet.jpg'):
        with Image.open(out / name) as image:
            image.load()
            assert min(image.size) > 40


def break_set(root: Path) -> None:
    """Breaks the pairs b to l; only a stays valid."""
    im, gt = root / 'DIS-VD' / 'im', root / 'DIS-VD' / 'gt'
    (gt / 'b.png').unlink()
    (im / 'c.jpg').unlink()
    Image.new('RGB', (56, 40)).save(im / 'd.png')
    (im / 'e.jpg').write_bytes(b'')
    (im / 'f.jpg').write_bytes((im / 'f.jpg').read_bytes()[:-300])
    Image.new('L', (40, 56), 255).save(gt / 'g.png')
    Image.new('L', (56, 40), 0).save(gt / 'h.png')
    Image.new('L', (56, 40), 255).save(gt / 'i.png')
    levels = np.array(Image.open(gt / 'j.png'))
    Image.fromarray((levels > 127).astype(np.uint8)).save(gt / 'j.png')
    Image.new('RGB', (56, 40), (255, 0, 0)).save(gt / 'k.png')
    Image.fromarray((levels > 127).astype(np.uint8) * 3).save(gt / 'l.png')
    (im / 'notes.txt').write_text('hidden files and other types are ignored')
    (im / '.DS_Store').write_bytes(b'\0')


@pytest.mark.parametrize('workers', ['1', '2'])
def test_all_problems_are_listed(tmp_path, write_set, capsys, workers):
    root = write_set(tmp_path / 'set', stems=tuple('abcdefghijkl'))
    break_set(root)
    out = tmp_path / 'out'
    assert tool.main([str(root / 'DIS-VD'), '--out', str(out), '--workers', workers]) == 1
    problems = json.loads((out / 'report.json').read_text())['subsets']['DIS-VD']['problems']
    expected = {
        'image(s) without a mask': 'im/b.jpg',
        'mask(s) without an image': 'gt/c.png',
        'file(s) whose stem another file has too': 'im/d.png',
        'empty file(s)': 'im/e.jpg',
        'unreadable file(s)': 'im/f.jpg',
        'mask(s) of another size than their image': 'gt/g.png',
        'mask(s) without foreground': 'gt/h.png',
        'mask(s) of 0 and 1 instead of 0 and 255, black for other software': 'gt/j.png',
    }
    for kind, name in expected.items():
        assert len(problems[kind]) == 1 and f"'{name}'" in problems[kind][0], kind
    assert len(problems['mask(s) without background']) == 2  # g and i
    assert 'coloured' in problems['unusable mask(s)'][0]
    assert 'class indices' in problems['unusable mask(s)'][1]
    assert set(problems) == {*expected, 'mask(s) without background', 'unusable mask(s)'}
    printed = capsys.readouterr().out
    assert all(kind in printed for kind in problems)


def test_sizes_are_those_of_upright_images(tmp_path, write_set):
    root = write_set(tmp_path / 'set')
    Image.new('RGB', (40, 56), 'red').save(root / 'DIS-VD' / 'im' / 'a.jpg', exif=exif(8))
    assert tool.main([str(root), '--workers', '1']) == 0


def test_every_subset_is_checked_and_a_missing_folder_named(tmp_path, write_set, capsys):
    write_set(tmp_path, 'DIS-TE1')
    (write_set(tmp_path, 'DIS-TE2') / 'DIS-TE2' / 'gt').rename(tmp_path / 'elsewhere')
    assert tool.main([str(tmp_path), '--workers', '1']) == 1
    printed = capsys.readouterr().out
    assert 'DIS-TE1: 3 pairs' in printed and 'nothing wrong' in printed
    assert 'DIS-TE2: 0 pairs' in printed and 'gt|gts|mask|masks' in printed


def test_subsets_behind_links_of_the_same_name_are_all_checked(tmp_path, write_set, capsys):
    (tmp_path / 'set').mkdir()
    for name in ('train', 'val'):
        write_set(tmp_path / name, 'DIS')
        (tmp_path / 'set' / name).symlink_to(tmp_path / name / 'DIS')
    (tmp_path / 'train' / 'DIS' / 'gt' / 'a.png').unlink()
    assert tool.main([str(tmp_path / 'set'), '--workers', '1']) == 1
    printed = capsys.readouterr().out
    assert 'train: 2 pairs' in printed and 'val: 3 pairs' in printed


def test_report_does_not_go_among_the_images_or_where_it_cannot_be_written(tmp_path, write_set):
    root = write_set(tmp_path / 'set')
    with pytest.raises(SystemExit, match='is a folder of inputs: choose another'):
        tool.main([str(root), '--out', str(root / 'DIS-VD' / 'im')])
    with pytest.raises(SystemExit, match='choose another --out'):
        tool.main([str(root), '--out', str(root / 'DIS-VD' / 'im' / 'a.jpg' / 'out')])


def test_mistakes_end_in_one_line(capsys):
    message = "no set in 'nowhere', which does not exist: expected the folders im"
    with pytest.raises(SystemExit, match=message) as caught:
        tool.main(['nowhere'])
    assert '\n' not in str(caught.value)
    with pytest.raises(SystemExit, match='2'):
        tool.main(['nowhere', '--workers', '-1'])
    assert 'error: --workers -1: expected 1 or more' in capsys.readouterr().err


def problems_of(folder: Path, out: Path, code: int = 1) -> dict[str, list[str]]:
    assert tool.main([str(folder), '--out', str(out), '--workers', '1']) == code
    (report,) = json.loads((out / 'report.json').read_text())['subsets'].values()
    return report['problems']


def test_what_is_passed_over_is_listed(tmp_path, write_set):
    folder = write_set(tmp_path / 'set') / 'DIS-VD'
    (folder / 'im' / 'more').mkdir()
    (folder / 'gt' / 'x.heif').write_bytes(b'x')
    (folder / 'im' / 'x.jxl').write_bytes(b'x')
    problems = problems_of(folder, tmp_path / 'out')
    assert problems['sub-folder(s) passed over'] == ["'im/more'"]
    assert problems['image(s) passed over'][0] == "'im/x.jxl', the format is not read"


def test_faint_masks_are_listed(tmp_path, write_set):
    folder = write_set(tmp_path / 'set') / 'DIS-VD'
    noise = np.random.default_rng(0).integers(0, 17, (40, 56), np.uint8)
    (folder / 'gt' / 'a.png').unlink()
    Image.fromarray(noise).save(folder / 'gt' / 'a.png')
    problems = problems_of(folder, tmp_path / 'out')
    assert problems['faint mask(s)'] == ["'gt/a.png' (largest level 16 of 255)"]
    assert problems['mask(s) without foreground'] == ["'gt/a.png'"]


def test_further_frames_are_listed(tmp_path, write_set):
    folder = write_set(tmp_path / 'set') / 'DIS-VD'
    (folder / 'im' / 'a.jpg').unlink()
    frames = [Image.new('RGB', (56, 40), colour) for colour in ('red', 'green')]
    frames[0].save(folder / 'im' / 'a.gif', save_all=True, append_images=frames[1:])
    problems = problems_of(folder, tmp_path / 'out')
    kind = 'file(s) of several frames or pages, the first of which is read'
    assert problems == {kind: ["'im/a.gif'"]}


def test_sets_beside_the_folders_of_a_set_are_checked(tmp_path, write_set, capsys):
    root = write_set(tmp_path, 'set') / 'set'
    write_set(root, 'more')
    write_set(root, 'set')
    assert tool.main([str(root), '--workers', '1']) == 0
    printed = capsys.readouterr().out
    assert all(f'{name}: 3 pairs' in printed for name in ('.', 'more', 'set'))


def test_names_that_are_not_utf_8(tmp_path, write_set, capsys):
    """OpenCV would end the process at the captions of the contact sheet."""
    stem = os.fsdecode(b'caf\xe9')
    root = write_set(tmp_path / 'set', stems=(stem, 'b'))
    assert problems_of(root, tmp_path / 'out', 0) == {}
    (root / 'DIS-VD' / 'gt' / f'{stem}.png').unlink()
    assert problems_of(root, tmp_path / 'out')['image(s) without a mask'] == [r"'im/caf\xe9.jpg'"]
    assert capsys.readouterr().out.encode()


def test_interrupted_check_ends_in_one_line(tmp_path, write_set, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr('mmdiffdis.datasets.inspection.inspect_subset', interrupt)
    with pytest.raises(SystemExit) as caught:
        tool.main([str(write_set(tmp_path / 'set'))])
    assert caught.value.code == 130 and capsys.readouterr().err.endswith(': interrupted\n')
