"""Data sets of each layout, as small as they can be, as pairs."""

import base64
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import load_tool
from PIL import Image
from scipy.io import savemat

from mmdiffdis.datasets.compositing import composite
from mmdiffdis.datasets.converting import KINDS, _decode_runs, convert

to_dis = load_tool('dataset_converters/to_dis.py')
HEIGHT, WIDTH = 12, 20
SQUARE = np.zeros((HEIGHT, WIDTH), np.uint8)
SQUARE[3:9, 5:15] = 255
CORNERS = [[5, 3], [15, 3], [15, 9], [5, 9]]


def save(path: Path, array: np.ndarray, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def photograph(path: Path) -> None:
    save(path, np.full((HEIGHT, WIDTH, 3), 99, np.uint8))


def write_clothing(root: Path) -> None:
    photograph(root / 'photos/0001.jpg')
    (root / 'annotations/pixel-level').mkdir(parents=True)
    savemat(root / 'annotations/pixel-level/0001.mat', {'groundtruth': SQUARE // 255 * 41})


def write_davis(root: Path) -> None:
    photograph(root / 'JPEGImages/480p/bear/00000.jpg')
    palette = Image.fromarray(SQUARE // 255 * 2, 'P')  # the second of several objects
    palette.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    (root / 'Annotations/480p/bear').mkdir(parents=True)
    palette.save(root / 'Annotations/480p/bear/00000.png')
    save(root / 'Annotations/1080p/bear/00000.png', SQUARE)


def write_saliency(root: Path) -> None:
    photograph(root / 'DUTS-TR-Image/a.jpg')
    save(root / 'DUTS-TR-Mask/a.png', SQUARE)
    save(root / 'DUTS-TR-Edge/a.png', SQUARE[::-1])
    photograph(root / 'Imgs/b.jpg')
    save(root / 'Imgs/b.png', SQUARE)


def write_pets(root: Path) -> None:
    photograph(root / 'images/Bombay_1.jpg')
    trimap = np.full((HEIGHT, WIDTH), 2, np.uint8)
    trimap[2:10, 4:16] = 3  # the border's middle is the square's edge
    trimap[4:8, 6:14] = 1
    save(root / 'annotations/trimaps/Bombay_1.png', trimap)
    (root / 'annotations/trimaps/._Bombay_1.png').write_text('of macOS')


def coco_file(root: Path, segmentations: list) -> None:
    photograph(root / 'val/a.jpg')
    content = {
        'images': [{'id': 7, 'file_name': 'a.jpg', 'height': HEIGHT, 'width': WIDTH}],
        'categories': [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}],
        'annotations': [
            {'image_id': 7, 'category_id': category, 'segmentation': segmentation}
            for category, segmentation in enumerate(segmentations, 1)
        ],
    }
    (root / 'annotations').mkdir()
    (root / 'annotations/instances.json').write_text(json.dumps(content))


def write_coco(root: Path) -> None:
    left, right = ([x, y, x + 5, y, x + 5, y + 6, x, y + 6] for x, y in ((5, 3), (10, 3)))
    coco_file(root, [[left], [right]])


def write_labelme(root: Path, **shape) -> None:
    photograph(root / 'a.jpg')
    shapes = [{'label': 'dog', 'shape_type': 'polygon', 'points': CORNERS, **shape}]
    content = {'imagePath': '..\\elsewhere\\a.jpg', 'imageData': None, 'shapes': shapes}
    content |= {'imageHeight': HEIGHT, 'imageWidth': WIDTH}
    (root / 'a.json').write_text(json.dumps(content))


WRITERS = {
    'clothing-co-parsing': write_clothing,
    'davis': write_davis,
    'saliency': write_saliency,
    'oxford-pets': write_pets,
    'coco': write_coco,
    'labelme': write_labelme,
}
STEMS = {
    'clothing-co-parsing': ['0001'],
    'davis': ['bear_00000'],
    'saliency': ['a', 'b'],
    'oxford-pets': ['Bombay_1'],
}


def source_of(kind: str, root: Path) -> Path:
    return root / 'annotations/instances.json' if kind == 'coco' else root


def masks(out: Path) -> dict[str, np.ndarray]:
    return {path.stem: np.array(Image.open(path)) for path in sorted((out / 'gt').iterdir())}


@pytest.mark.parametrize('kind', WRITERS)
def test_layout_becomes_pairs(tmp_path, capsys, kind):
    (tmp_path / 'in').mkdir()
    WRITERS[kind](tmp_path / 'in')
    out = tmp_path / 'out'
    to_dis.main([kind, str(source_of(kind, tmp_path / 'in')), '--out', str(out)])
    expected = STEMS.get(kind, ['a'])
    assert [path.name for path in sorted((out / 'im').iterdir())] == [f'{s}.jpg' for s in expected]
    found = masks(out)
    assert [*found] == expected
    for mask in found.values():
        np.testing.assert_array_equal(mask > 127, SQUARE > 127)
    printed = capsys.readouterr().out
    assert f'{out}: {len(expected)} pairs' in printed and 'nothing wrong' in printed
    assert f'terms of {kind}: {KINDS[kind].terms}' in printed


def test_border_of_a_trimap_is_a_ramp(tmp_path):
    write_pets(tmp_path / 'in')
    convert(KINDS['oxford-pets'].samples(tmp_path / 'in'), tmp_path / 'out')
    row = masks(tmp_path / 'out')['Bombay_1'][6]
    np.testing.assert_array_equal(row[3:7], [0, 85, 170, 255])


def test_objects_of_some_labels_alone(tmp_path):
    (tmp_path / 'in').mkdir()
    write_coco(tmp_path / 'in')
    source = source_of('coco', tmp_path / 'in')
    convert(KINDS['coco'].samples(source, ['dog']), tmp_path / 'out')
    mask = masks(tmp_path / 'out')['a']
    np.testing.assert_array_equal(mask[:, 10:] > 127, SQUARE[:, 10:] > 127)
    assert not mask[:, :10].any()
    with pytest.raises(ValueError, match=r"--labels \['cow'\]: expected some of \['cat', 'dog'\]"):
        next(KINDS['coco'].samples(source, ['cow']))


@pytest.mark.parametrize('as_text', [False, True])
def test_run_lengths_are_read(as_text):
    # 5 columns and 3 pixels, then ten times 6 of foreground and 6 of background
    runs = [63, *[6] * 19, 63]
    counts = encode_runs(runs) if as_text else runs
    np.testing.assert_array_equal(_decode_runs({'counts': counts, 'size': [12, 20]}), SQUARE)


def encode_runs(runs: list[int]) -> str:
    """Inverse of the text format, as COCO's documentation describes it."""
    text = ''
    for i, run in enumerate(runs):
        value, more = run - (runs[i - 2] if i > 2 else 0), True
        while more:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            text += chr(group + (32 if more else 0) + 48)
    return text


@pytest.mark.parametrize('kind', ['rectangle', 'circle', 'mask'])
def test_shapes_of_labelme(tmp_path, kind):
    (tmp_path / 'in').mkdir()
    expected, shape = SQUARE, {'shape_type': kind, 'points': [[5, 3], [15, 9]]}
    if kind == 'circle':
        shape['points'] = [[10, 6], [10, 2]]
        rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
        expected = (np.hypot(rows - 6, columns - 10) < 4) * 255
    elif kind == 'mask':
        file = io.BytesIO()
        Image.new('L', (10, 6), 255).save(file, format='png')
        shape['mask'] = base64.b64encode(file.getvalue()).decode()
    write_labelme(tmp_path / 'in', **shape)
    assert convert(KINDS['labelme'].samples(tmp_path / 'in'), tmp_path / 'out')[0] == 1
    np.testing.assert_array_equal(masks(tmp_path / 'out')['a'] > 127, expected > 127)


def test_polygon_covers_pixels_by_their_share(tmp_path):
    (tmp_path / 'in').mkdir()
    write_labelme(tmp_path / 'in', points=[[5.5, 3], [15, 3], [15, 9], [5.5, 9]])
    convert(KINDS['labelme'].samples(tmp_path / 'in'), tmp_path / 'out')
    assert masks(tmp_path / 'out')['a'][6, 4:7].tolist() == [0, pytest.approx(128, abs=64), 255]


def test_what_cannot_be_used_is_left_out_and_listed(tmp_path, capsys):
    write_saliency(tmp_path / 'in')
    photograph(tmp_path / 'in/images/alone.jpg')
    photograph(tmp_path / 'in/images/empty.jpg')
    save(tmp_path / 'in/masks/empty.png', SQUARE * 0)
    photograph(tmp_path / 'in/images/other.jpg')
    save(tmp_path / 'in/masks/other.png', SQUARE[:5])
    to_dis.main(['saliency', str(tmp_path / 'in'), '--out', str(tmp_path / 'out')])
    printed = capsys.readouterr().out
    assert 'left out: 1 expected one mask of this name, found none: alone' in printed
    assert 'left out: 1 without foreground: empty' in printed
    assert 'left out: 1 mask of 20x5 for an image of 20x12: other' in printed
    assert [*masks(tmp_path / 'out')] == ['a', 'b']


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['davis', 'in'], "no pair of 'in' can be used: expected JPEGImages/"),
        (['davis', 'in', '--copies', '2'], '--copies has no effect on davis: leave it out'),
        (['cutouts', 'in'], "no photographs in 'None': name a folder by --backgrounds"),
        (['coco', 'in/a.json'], "'in/a.json' is no COCO file: it has no images and annotations"),
        (['coco', 'in/b.json'], "'in/b.json' is no JSON file"),
        (['saliency', 'in', '--out', 'in'], "'in' is not empty: choose another --out"),
        (['saliency', 'twice'], "two images have the name 'a': convert their folders separately"),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path('in').mkdir()
    Path('in/a.json').write_text('[]')
    Path('in/b.json').write_text('{')
    for folder in ('x', 'y'):
        photograph(Path('twice', folder, 'a.jpg'))
    with pytest.raises(SystemExit, match=message):
        to_dis.main(['--out', 'out', *arguments])


def write_cutout(path: Path) -> np.ndarray:
    """Writes a red disc of hidden green around, 60x60."""
    disc = cv2.circle(np.zeros((60, 60), np.uint8), (30, 30), 20, 255, -1, cv2.LINE_AA)
    rgba = np.dstack([disc, 255 - disc, disc * 0, disc])
    save(path, rgba)
    return rgba


def test_cutouts_are_laid_over_photographs(tmp_path, draw_pair, capsys):
    write_cutout(tmp_path / 'in/disc.png')
    photograph(tmp_path / 'in/opaque.jpg')
    save(tmp_path / 'photographs/a.jpg', draw_pair(0, 80, 120)[0])
    options = ['--backgrounds', str(tmp_path / 'photographs'), '--copies', '2']
    for out in ('one', 'two'):
        to_dis.main(['cutouts', str(tmp_path / 'in'), '--out', str(tmp_path / out), *options])
        printed = capsys.readouterr().out
        assert 'left out: 2 it has no alpha channel: opaque_0, opaque_1' in printed
    one, two = masks(tmp_path / 'one'), masks(tmp_path / 'two')
    assert [*one] == ['disc_0', 'disc_1'] and (one['disc_0'] != one['disc_1']).any()
    for stem, mask in one.items():
        np.testing.assert_array_equal(mask, two[stem])
        assert mask.shape == (80, 120) and mask.max() == 255 and 0.1 < (mask > 127).mean() < 0.6
        image = np.array(Image.open(tmp_path / f'one/im/{stem}.jpg')).astype(int)
        red = image[..., 0] - image[..., 1]
        assert red[mask > 250].min() > 50 > red[mask < 5].mean()


def test_composite_follows_its_background(tmp_path):
    cutout = write_cutout(tmp_path / 'disc.png')
    tones = []
    for level in (20, 230):
        ground = np.full((90, 90, 3), level, np.uint8)
        image, mask = composite(cutout, ground, np.random.default_rng(0))
        tones.append(image[mask == 255].mean())
        # a shadow, which is darkest beside the disc, and soft edges beside smooth ground
        assert image[mask == 0].min() < level and ((mask > 0) & (mask < 255)).sum() > 100
        assert not (image[mask == 0][:, 1] > level).any(), 'no hidden green'
    assert tones[0] < tones[1]
    with pytest.raises(ValueError, match='it is transparent throughout'):
        composite(cutout * 0, ground, np.random.default_rng(0))


def test_choices_are_those_of_the_package():
    assert tuple(KINDS) == to_dis.KINDS
