"""Real data sets of several layouts as pairs in `im/` and `gt/`."""

import base64
import io
import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from ..images.reading import read_image, read_rgb, read_size
from ..images.values import to_alpha
from ..utils.files import atomic_write, stem_of
from ..utils.seeding import seed_words
from .compositing import composite
from .pairing import IMAGE_SUFFIXES, short_name

ImageOrFile = Path | np.ndarray  # a file, or RGB uint8 [H, W, 3]
# A stem, and what reads or makes its image and its mask, uint8 [H, W].
Sample = tuple[str, Callable[[], tuple[ImageOrFile, np.ndarray]]]

_FINE = 4  # samples of a polygon along each side of a pixel
_MASK_FOLDERS = ('mask', 'gt', 'ground', 'label', 'annot', 'matte')  # parts of their names
_WHOLE = 255  # foreground in masks


@dataclass(frozen=True)
class Kind:
    """A layout of data sets.

    Attributes:
        samples: Yields the samples of a source, a folder or file; further arguments are options.
        layout: What the source has to hold.
        terms: Terms of the images and masks, as far as their source states any.
    """

    samples: Callable[..., Iterator[Sample]]
    layout: str
    terms: str


def convert(samples: Iterator[Sample], out: Path) -> tuple[int, dict[str, list[str]]]:
    """Writes samples to `out`/im and `out`/gt; returns their number, and reason -> stems of others.

    Image files are copied as they are. Left out are samples that cannot be read, whose mask has
    another size than the image, or without foreground.

    Raises:
        FileExistsError: If `out` holds something already.
        ValueError: If two samples have the same stem.
    """
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"'{out}' is not empty: choose another --out")
    stems, left_out = set(), defaultdict(list)
    for stem, read in tqdm(samples, unit='pair'):
        if stem.casefold() in stems:
            raise ValueError(f"two images have the name '{stem}': convert their folders separately")
        stems.add(stem.casefold())
        try:
            image, mask = read()
            size = read_size(image) if isinstance(image, Path) else image.shape[1::-1]
            if size != mask.shape[::-1]:
                raise ValueError('mask of {}x{} for an image of {}x{}'.format(*mask.T.shape, *size))
            if mask.max(initial=0) <= _WHOLE // 2:
                raise ValueError('without foreground')
        except (OSError, ValueError, KeyError) as error:
            left_out[str(error)].append(stem)
        else:
            write_pair(out, stem, image, mask)
    return len(stems) - sum(map(len, left_out.values())), left_out


def write_pair(out: Path, stem: str, image: ImageOrFile, mask: np.ndarray) -> None:
    """Writes an image to `out`/im, a file as it is, and its mask to `out`/gt."""
    for name in ('im', 'gt'):
        (out / name).mkdir(parents=True, exist_ok=True)
    suffix = image.suffix.lower() if isinstance(image, Path) else '.jpg'
    with atomic_write(out / 'im' / f'{stem}{suffix}') as unfinished:
        if isinstance(image, Path):
            shutil.copyfile(image, unfinished)
        else:
            Image.fromarray(image).save(unfinished, quality=95)
    with atomic_write(out / 'gt' / f'{stem}.png') as unfinished:
        Image.fromarray(mask).save(unfinished)


def clothing_co_parsing(source: Path) -> Iterator[Sample]:
    """Yields the photographs; all labels of pixels but the first are foreground."""
    from scipy.io import loadmat  # which scikit-image requires; other layouts do not need it

    for path in _files(source / 'annotations' / 'pixel-level', ['.mat']):

        def read(path: Path = path) -> tuple[ImageOrFile, np.ndarray]:
            arrays = [value for key, value in loadmat(path).items() if not key.startswith('__')]
            if len(arrays) != 1 or arrays[0].ndim != 2:
                raise ValueError(f'{len(arrays)} arrays: expected one, of labels of pixels')
            return source / 'photos' / f'{path.stem}.jpg', np.uint8(arrays[0] > 0) * _WHOLE

        yield path.stem, read


def davis(source: Path) -> Iterator[Sample]:
    """Yields the frames of a video set, named SEQUENCE_FRAME; all of its objects are foreground."""
    masks = source / 'Annotations'
    for path in _files(masks / '480p' if (masks / '480p').is_dir() else masks, ['.png']):

        def read(path: Path = path) -> tuple[ImageOrFile, np.ndarray]:
            image = source / 'JPEGImages' / path.relative_to(masks).with_suffix('.jpg')
            # a palette's numbers of objects, or 0 and 255
            return image, np.uint8(np.array(read_image(str(path))) > 0) * _WHOLE

        yield f'{path.parent.name}_{path.stem}', read


def saliency(source: Path) -> Iterator[Sample]:
    """Yields JPEGs with the mask of the same stem in their folder or in one beside it."""
    candidates = defaultdict(list)
    for path in _files(source, ['.png', '.bmp']):
        candidates[path.parent, path.stem].append(path)
        candidates[path.parent.parent, path.stem].append(path)
    for image in _files(source, ['.jpg', '.jpeg']):
        places = (image.parent, image.stem), (image.parent.parent, image.stem)
        masks = list(dict.fromkeys(path for place in places for path in candidates[place]))
        named = [
            path for path in masks if any(n in path.parent.name.lower() for n in _MASK_FOLDERS)
        ]

        def read(image: Path = image, masks: list[Path] = named or masks):
            if len(masks) != 1:
                names = ', '.join(map(short_name, masks)) or 'none'
                raise ValueError(f'expected one mask of this name, found {names}')
            return image, to_alpha(read_image(str(masks[0])), dtype=np.uint8)

        yield image.stem, read


def oxford_pets(source: Path) -> Iterator[Sample]:
    """Yields the photographs with their trimaps, whose border becomes a ramp."""
    for path in _files(source / 'annotations' / 'trimaps', ['.png']):

        def read(path: Path = path) -> tuple[ImageOrFile, np.ndarray]:
            trimap = np.array(read_image(str(path)))  # 1 foreground, 2 background, 3 border
            to_inside, to_outside = (
                cv2.distanceTransform(np.uint8(trimap != value), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
                for value in (1, 2)
            )
            mask = np.rint(to_outside / np.maximum(to_inside + to_outside, 1) * _WHOLE)
            return source / 'images' / f'{path.stem}.jpg', mask.astype(np.uint8)

        yield path.stem, read


def coco(source: Path, labels: Collection[str] = ()) -> Iterator[Sample]:
    """Yields the images of a COCO file with the union of their objects.

    Images are searched for beside the file and, if it is in `annotations/`, beside that.

    Args:
        source: JSON file.
        labels: Names of the categories that are foreground; none: all.

    Raises:
        ValueError: If the file is no such JSON, or has no category of a name.
    """
    content = _read_json(source)
    if not isinstance(content, dict) or not {'images', 'annotations'} <= content.keys():
        raise ValueError(f"'{source}' is no COCO file: it has no images and annotations")
    names = {category['id']: category['name'] for category in content.get('categories', [])}
    if unknown := {*labels} - {*names.values()}:
        raise ValueError(f'--labels {sorted(unknown)}: expected some of {sorted(names.values())}')
    root = source.parent.parent if source.parent.name == 'annotations' else source.parent
    files = defaultdict(list)
    for path in _files(root, IMAGE_SUFFIXES):
        files[path.name].append(path)
    objects = defaultdict(list)
    for each in content['annotations']:
        if not labels or names.get(each['category_id']) in labels:
            objects[each['image_id']].append(each['segmentation'])
    for entry in content['images']:
        name = Path(entry['file_name'])

        def read(entry: dict = entry, name: Path = name) -> tuple[ImageOrFile, np.ndarray]:
            found = [path for path in files[name.name] if path.as_posix().endswith(name.as_posix())]
            found = found or files[name.name]
            if len(found) != 1:
                raise ValueError(f"expected one file '{name}' in '{root}', found {len(found)}")
            mask = np.zeros((entry['height'], entry['width']), np.uint8)
            for shape in objects[entry['id']]:
                if isinstance(shape, dict):
                    mask |= _decode_runs(shape)
                else:
                    mask |= _fill([np.reshape(points, (-1, 2)) for points in shape], mask.shape)
            return found[0], mask

        yield '_'.join(name.with_suffix('').parts), read


def labelme(source: Path, labels: Collection[str] = ()) -> Iterator[Sample]:
    """Yields the images of labelme's JSON files with the union of their shapes.

    Args:
        source: Folder of the JSON files, which may be in sub-folders.
        labels: Labels that are foreground; none: all.
    """
    for path in _files(source, ['.json']):

        def read(path: Path = path) -> tuple[ImageOrFile, np.ndarray]:
            content = _read_json(path)
            # written on Windows, perhaps, and moved with the image since
            image: ImageOrFile = path.parent / content['imagePath'].replace('\\', '/')
            if not image.exists():
                image = path.parent / image.name
            if not image.exists() and content.get('imageData'):
                # the image's file, in labelme's own coding
                image = np.array(Image.open(io.BytesIO(base64.b64decode(content['imageData']))))
            shape = content['imageHeight'], content['imageWidth']
            mask = np.zeros(shape, np.uint8)
            for each in content['shapes']:
                if not labels or each['label'] in labels:
                    mask |= _draw(each, shape)
            return image, mask

        yield '_'.join(path.relative_to(source).with_suffix('').parts), read


def cutouts(
    source: Path, backgrounds: Path | None = None, copies: int = 1, seed: int = 0
) -> Iterator[Sample]:
    """Yields transparent images laid over photographs.

    Args:
        source: Folder of images with an alpha channel.
        backgrounds: Folder of the photographs.
        copies: Number of samples of each image.
        seed: Of the choice of photographs, positions, sizes, colours, blurs and shadows.

    Raises:
        ValueError: If there are no photographs.
    """
    photographs = _files(backgrounds, IMAGE_SUFFIXES) if backgrounds else []
    if not photographs:
        raise ValueError(f"no photographs in '{backgrounds}': name a folder by --backgrounds")
    for path in _files(source, IMAGE_SUFFIXES):
        for number in range(copies):
            stem = f'{stem_of(path)}_{number}' if copies > 1 else stem_of(path)

            def read(path: Path = path, stem: str = stem) -> tuple[ImageOrFile, np.ndarray]:
                image = read_image(str(path))
                if not image.has_transparency_data:
                    raise ValueError('it has no alpha channel')
                rng = np.random.default_rng(seed_words(seed, 'composite', stem))
                background = read_rgb(str(photographs[rng.integers(len(photographs))]))
                return composite(np.array(image.convert('RGBA')), background, rng)

            yield stem, read


_YOURS = "the photographs' own: keep a note of where each comes from"
KINDS = {
    'clothing-co-parsing': Kind(
        clothing_co_parsing,
        'photos/0001.jpg and annotations/pixel-level/0001.mat',
        'Apache-2.0, as its repository states; the photographs were gathered on fashion sites. '
        'Cite Yang, Luo and Lin, Clothing Co-Parsing by Joint Image Segmentation and Labeling, '
        'CVPR 2014',
    ),
    'davis': Kind(
        davis,
        'JPEGImages/[480p/]SEQUENCE/00000.jpg and Annotations/[480p/]SEQUENCE/00000.png',
        "CC BY-NC, as the data's README states: not for commercial use. Cite Perazzi et al., A "
        'Benchmark Dataset and Evaluation Methodology for Video Object Segmentation, CVPR 2016',
    ),
    'saliency': Kind(
        saliency,
        'JPEGs, and for each a PNG of its name in the same folder or one beside it (DUTS, ECSSD, '
        'HKU-IS, DUT-OMRON, MSRA10K, ...)',
        "each set's own; many state none. DUTS took its photographs from ImageNet and SUN, which "
        'are for research',
    ),
    'oxford-pets': Kind(
        oxford_pets,
        'images/NAME_1.jpg and annotations/trimaps/NAME_1.png',
        'CC BY-SA 4.0; copyright of the photographs remains with their owners. Cite Parkhi, '
        'Vedaldi, Zisserman and Jawahar, Cats and Dogs, CVPR 2012',
    ),
    'coco': Kind(
        coco,
        'images and annotations in a JSON file, with the images in a folder beside it',
        "of COCO: annotations CC BY 4.0; each photograph has its owner's terms, in `licenses` of "
        'the file',
    ),
    'labelme': Kind(labelme, 'JSON files of labelme beside their images', _YOURS),
    'cutouts': Kind(cutouts, 'images with an alpha channel', _YOURS),
}


def _files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Returns the files of a folder and its sub-folders, except hidden ones."""
    return sorted(
        path
        for path in folder.rglob('*')
        if path.suffix.lower() in suffixes and not path.name.startswith('.')
    )


def _read_json(path: Path):
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except json.JSONDecodeError as error:
        raise ValueError(f"'{path}' is no JSON file ({error})") from error


def _fill(polygons: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Returns the union of polygons, uint8 [H, W]; a pixel at its border has its covered share.

    Coordinates are x and y; (0, 0) is the corner of the first pixel.
    """
    height, width = shape
    fine = np.zeros((height * _FINE, width * _FINE), np.uint8)
    for points in polygons:  # one by one, since those that overlap would cancel each other
        # OpenCV counts from the middle of the first pixel, here in 1/16
        fixed = np.rint((np.float64(points) * _FINE - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(fine, [fixed], _WHOLE, shift=4)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)


def _draw(shape: dict, size: tuple[int, int]) -> np.ndarray:
    """Returns the mask of one of labelme's shapes."""
    kind, points = shape.get('shape_type') or 'polygon', np.float64(shape['points'])
    if kind == 'polygon':
        return _fill([points], size)
    if kind == 'rectangle':
        (left, top), (right, bottom) = points
        return _fill([np.array([(left, top), (right, top), (right, bottom), (left, bottom)])], size)
    if kind == 'circle':
        centre, radius = points[0], np.linalg.norm(points[1] - points[0])
        angles = np.linspace(0, 2 * np.pi, 180)
        return _fill([centre + radius * np.stack([np.cos(angles), np.sin(angles)], 1)], size)
    if kind == 'mask':
        patch = np.array(Image.open(io.BytesIO(base64.b64decode(shape['mask']))).convert('L')) > 0
        left, top = points[0].astype(int)
        mask = np.zeros(size, np.uint8)
        mask[top : top + patch.shape[0], left : left + patch.shape[1]][patch] = _WHOLE
        return mask
    raise ValueError(
        f"shape '{shape['label']}' is a {kind}: expected polygon, rectangle, circle or mask; "
        'choose others by --labels'
    )


def _decode_runs(shape: dict) -> np.ndarray:
    """Returns the mask of COCO's run lengths, uint8 [H, W].

    Runs of background and foreground alternate down the columns. A text holds each in groups of
    five bits from the lowest, as ASCII from '0', bit 32 set in all but the last, whose bit 16 is
    the sign; from the third run on, it holds the difference from the run before the last.
    Source: `rleFrString` of the COCO API's maskApi.c.
    """
    runs = shape['counts']
    if isinstance(runs, str):
        text, runs = runs, []
        value = shift = 0
        for group in (ord(letter) - 48 for letter in text):
            value |= (group & 31) << shift
            shift += 5
            if not group & 32:
                value -= (group & 16) << shift - 4
                runs.append(value + (runs[-2] if len(runs) > 2 else 0))
                value = shift = 0
    levels = np.arange(len(runs)) % 2 * _WHOLE
    height, width = shape['size']
    return np.repeat(levels, runs).astype(np.uint8).reshape(width, height).T
