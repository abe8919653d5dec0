"""Pairing of images and masks by file stem, and checks of their files."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ..images.reading import read_image, read_size
from ..images.values import to_alpha
from ..utils.files import stem_of

_FORMATS = ('avif', 'bmp', 'gif', 'jfif', 'jpeg', 'jpg', 'pgm', 'png', 'ppm', 'tif', 'tiff', 'webp')
IMAGE_SUFFIXES = frozenset(f'.{name}' for name in _FORMATS)
# Names of the folders; the first that exists counts.
IMAGE_DIRS = ('im', 'image', 'images')
MASK_DIRS = ('gt', 'mask', 'masks')
# Threads that read headers: small reads, mostly spent waiting for the disk.
_READERS = 8
# First bytes of a format -> last bytes of an undamaged file without appended data.
_ENDS = {b'\x89PNG': b'IEND\xaeB`\x82', b'\xff\xd8': b'\xff\xd9', b'GIF8': b';'}


@dataclass(frozen=True)
class ImageMaskPair:
    """Files of an image and its mask.

    Attributes:
        stem: File name without suffix, in Unicode's form NFC.
        image: Path of the image.
        mask: Path of the mask.
    """

    stem: str
    image: Path
    mask: Path


@dataclass
class Pairing:
    """Result of `pair_images_and_masks`.

    Attributes:
        pairs: Sorted by stem.
        problems: Kind of problem -> the files that have it, as 'im/name.jpg', with details.
    """

    pairs: list[ImageMaskPair]
    problems: dict[str, list[str]] = field(default_factory=dict)


def pair_images_and_masks(folder: Path) -> Pairing:
    """Pairs the files of `folder/{im,gt}`, or of the other names of these folders, by stem.

    Reads file names and sizes only. Ignores hidden files and those without the suffix of an image.

    Raises:
        FileNotFoundError: If one of the two folders is missing.
    """
    image_dir, mask_dir = (_find_dir(folder, names) for names in (IMAGE_DIRS, MASK_DIRS))
    problems = defaultdict(list)
    images, masks = (_files_by_stem(path, problems) for path in (image_dir, mask_dir))
    if images and masks:
        problems['image(s) without a mask'] = _without_partner(images, masks, mask_dir)
        problems['mask(s) without an image'] = _without_partner(masks, images, image_dir)
    stems = sorted(images.keys() & masks.keys())
    pairs = [ImageMaskPair(stem, images[stem], masks[stem]) for stem in stems]
    return Pairing(pairs, {kind: files for kind, files in problems.items() if files})


def check_headers(pairs: list[ImageMaskPair]) -> dict[str, list[str]]:
    """Returns problems of files that are no images or truncated, and of sizes that differ.

    Sizes are those of upright images (EXIF orientation applied). Pixels are decoded only of files
    that do not end as their format does.
    """
    problems = defaultdict(list)
    with ThreadPoolExecutor(_READERS) as pool:
        for pair_problems in pool.map(_check_pair, pairs):
            for kind, text in pair_problems:
                problems[kind].append(text)
    return dict(problems)


def check_kinds_of_masks(
    pairs: list[ImageMaskPair], full_scale: int | None
) -> dict[str, list[str]]:
    """Returns problems of masks that `to_alpha` refuses, from the first mask of each kind of file.

    Unreadable masks are left to `check_headers`.

    Args:
        pairs: Pairs of a set. A kind is a suffix and, of PNGs, a bit depth and colour type.
        full_scale: As in `to_alpha`.
    """
    problems = defaultdict(list)
    for path in _first_of_each_kind(pair.mask for pair in pairs):
        try:
            mask = read_image(str(path))
        except (OSError, ValueError):
            continue
        try:
            to_alpha(mask, full_scale)
        except ValueError as error:
            text = f'{short_name(path)}, maybe others of its kind ({error})'
            problems['unusable mask(s)'].append(text)
    return dict(problems)


def summarise_problems(problems: dict[str, list[str]], limit: int = 5) -> list[str]:
    """Returns one line for each kind of problem, with at most `limit` of its files.

    Example:
        >>> summarise_problems({'empty file(s)': ['im/a.jpg', 'im/b.jpg']}, limit=1)
        ['2 empty file(s): im/a.jpg and 1 more']
    """
    lines = []
    for kind, files in problems.items():
        more = f' and {len(files) - limit} more' if len(files) > limit else ''
        lines.append(f'{len(files)} {kind}: {", ".join(files[:limit])}{more}')
    return lines


def image_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yields (stem, path) of everything named like an image in `folder`, sorted by path."""
    for path in sorted(folder.iterdir()):
        # macOS adds a hidden `._name.jpg` to every image on foreign disks
        if not path.name.startswith('.') and path.suffix.lower() in IMAGE_SUFFIXES:
            yield stem_of(path), path


def short_name(path: Path) -> str:
    """Returns 'im/name.jpg' in quotes, the name of a file in messages."""
    return f"'{path.parent.name}/{path.name}'"


def size_mismatch(
    pair: ImageMaskPair, image_size: tuple[int, int], mask_size: tuple[int, int]
) -> str:
    """Returns "'gt/name.png' (40x30, its image 80x60)", with a hint if one of them is turned."""
    text = '{}x{}, its image {}x{}'.format(*mask_size, *image_size)
    if image_size == mask_size[::-1]:
        text += '; one is turned: compare their EXIF orientations, which are honoured'
    return f'{short_name(pair.mask)} ({text})'


def list_subfolders(folder: Path) -> str:
    """Returns the end of a message about a folder that lacks something: what it contains."""
    if not folder.is_dir():
        return ', which does not exist'
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    return f', which holds the folders {names}' if names else ', which holds no folders'


def _find_dir(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (folder / name).is_dir():
            return folder / name
    raise FileNotFoundError(
        f'no folder {folder / "|".join(names)}: expected <data_root>/<subset>/im (or image, '
        f"images) and .../gt (or mask, masks), got data_root/subset='{folder}'"
        f'{list_subfolders(folder)}'
    )


def _files_by_stem(folder: Path, problems: dict[str, list[str]]) -> dict[str, Path]:
    """Returns the image files of `folder` by stem; adds what is wrong with them to `problems`."""
    files = {}
    for stem, path in image_files(folder):
        if not path.is_file():
            problems['folder(s) or broken link(s) named like an image'].append(short_name(path))
            continue
        if stem in files:
            problems['file(s) whose stem another file has too'].append(short_name(path))
        files[stem] = path
        if path.stat().st_size == 0:
            problems['empty file(s)'].append(short_name(path))
    if not files:
        text = f"no image file in '{folder}' (looked for {' '.join(_FORMATS)})"
        if subfolders := [path.name for path in sorted(folder.iterdir()) if path.is_dir()]:
            text += f', but the folder(s) {subfolders[:5]}'
        problems['empty folder(s)'].append(text)
    return files


def _without_partner(files: dict[str, Path], partners: dict[str, Path], folder: Path) -> list[str]:
    """Returns the names of files without a partner, and of files of another format that may be it.

    Args:
        files: Files of one folder by stem.
        partners: Files of the other folder by stem.
        folder: The other folder.
    """
    alone = [stem for stem in files if stem not in partners]
    others = {stem_of(path): path for path in folder.iterdir() if path.is_file()} if alone else {}
    return [
        short_name(files[stem])
        + (f' (of {short_name(others[stem])}, the format is not read)' if stem in others else '')
        for stem in alone
    ]


def _check_pair(pair: ImageMaskPair) -> list[tuple[str, str]]:
    sizes, problems = [], []
    paths = pair.image, pair.mask
    for path in paths:
        try:
            reason = 'no image'
            size = read_size(path)
            reason = 'cut off or damaged'
            if not _ends_like_its_format(path):
                read_image(str(path))
            sizes.append(size)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else reason
            if path.stat().st_size:  # `pair_images_and_masks` reports empty files
                problems.append(('unreadable file(s)', f'{short_name(path)} ({reason})'))
    if len(sizes) == 2 and sizes[0] == sizes[1][::-1] != sizes[1]:
        # the orientation may be stored behind the pixels, where `read_size` does not look
        sizes = [_decoded_size(path, size) for path, size in zip(paths, sizes, strict=True)]
    if len(sizes) == 2 and sizes[0] != sizes[1]:
        problems.append(('mask(s) of another size than their image', size_mismatch(pair, *sizes)))
    return problems


def _ends_like_its_format(path: Path) -> bool:
    """Returns whether a file ends as its format does, True for formats without a fixed end."""
    with path.open('rb') as file:
        head = file.read(4)
        file.seek(-min(8, path.stat().st_size), os.SEEK_END)
        tail = file.read()
    ends = [end for begin, end in _ENDS.items() if head.startswith(begin)]
    return not ends or tail.endswith(ends[0])


def _decoded_size(path: Path, default: tuple[int, int]) -> tuple[int, int]:
    try:
        return read_image(str(path)).size
    except ValueError:
        return default


def _first_of_each_kind(paths: Iterable[Path]) -> list[Path]:
    """Returns the first file of each suffix and, of PNGs, of each bit depth and colour type."""
    firsts = {}
    for path in paths:
        with path.open('rb') as file:
            head = file.read(26)
        depth_and_colour = head[24:] if head.startswith(b'\x89PNG') else b''
        firsts.setdefault((path.suffix.lower(), depth_and_colour), path)
    return [*firsts.values()]
