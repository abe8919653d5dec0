"""Pairing of images and masks by file stem, and checks of their files."""

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ..images.reading import HEIF_SUFFIXES, READS_HEIF, read_image, read_size
from ..images.values import to_alpha
from ..utils.files import printable, stem_of

_FORMATS = ('avif', 'bmp', 'gif', 'jfif', 'jpeg', 'jpg', 'pgm', 'png', 'ppm', 'tif', 'tiff', 'webp')
IMAGE_SUFFIXES = frozenset(f'.{name}' for name in _FORMATS) | {*(HEIF_SUFFIXES * READS_HEIF)}
# Images all the same, and never read.
_OTHER_IMAGE_SUFFIXES = frozenset(
    ('.arw', '.cr2', '.dng', '.exr', '.hdr', '.jp2', '.jxl', '.nef', '.psd', '.tga', *HEIF_SUFFIXES)
).difference(IMAGE_SUFFIXES)
# Names of the folders, in capital letters or not; the first that exists counts.
IMAGE_DIRS = ('im', 'image', 'images', 'img', 'imgs')
MASK_DIRS = ('gt', 'gts', 'mask', 'masks', 'label', 'labels')
# What tools append to the stem of an image: 1.jpg -> 1_mask.png, 1_rgba.png, 1.jpg.png.
_ENDINGS = re.compile(
    rf'([_-](mask|rgba|gt|alpha|matte|label)|{"|".join(map(re.escape, sorted(IMAGE_SUFFIXES)))})+$',
    re.IGNORECASE,
)
# Masks of another shape are not only resized, but squeezed.
_LARGEST_CHANGE_OF_ASPECT = 0.05
OTHER_SIZE = 'mask(s) of another size than their image'  # a kind of problem
# Threads that read headers: small reads, mostly spent waiting for the disk.
_READERS = 8
# First bytes of a format -> last bytes of an undamaged file without appended data.
_ENDS = {b'\x89PNG': b'IEND\xaeB`\x82', b'\xff\xd8': b'\xff\xd9', b'GIF8': b';'}


@dataclass(frozen=True)
class ImageMaskPair:
    """Files of an image and its mask.

    Attributes:
        stem: File name of the image without suffix, in Unicode's form NFC.
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
        passed_over: The same of sub-folders, and of images of formats that are not read.
    """

    pairs: list[ImageMaskPair]
    problems: dict[str, list[str]] = field(default_factory=dict)
    passed_over: dict[str, list[str]] = field(default_factory=dict)


def pair_images_and_masks(folder: Path) -> Pairing:
    """Pairs the files of `folder/{im,gt}`, or of the other names of these folders, by stem.

    Reads file names and sizes only. Ignores hidden files and those without the suffix of an image.
    See `match_stems` for stems that differ.

    Raises:
        FileNotFoundError: If one of the two folders is missing.
    """
    image_dir, mask_dir = (_find_dir(folder, names) for names in (IMAGE_DIRS, MASK_DIRS))
    problems = defaultdict(list)
    images, masks = (_files_by_stem(path, problems) for path in (image_dir, mask_dir))
    stems = match_stems(images, masks)
    if images and masks:
        alone = {stem: path for stem, path in images.items() if stem not in stems}
        problems['image(s) without a mask'] = _with_likely_partner(alone, mask_dir)
        partners = {*stems.values()}
        alone = {stem: path for stem, path in masks.items() if stem not in partners}
        problems['mask(s) without an image'] = _with_likely_partner(alone, image_dir)
    pairs = [ImageMaskPair(stem, images[stem], masks[stems[stem]]) for stem in sorted(stems)]
    problems = {kind: files for kind, files in problems.items() if files}
    return Pairing(pairs, problems, _passed_over(folder, image_dir, mask_dir))


def match_stems(stems: Collection[str], others: Collection[str]) -> dict[str, str]:
    """Returns stem -> its partner among `others`, for all stems that have one.

    Partners are equal, or become so, and are then the only ones, without what tools append.

    Example:
        >>> match_stems(['a', 'b', 'c'], ['a', 'b_mask', 'c.jpg', 'c_rgba'])
        {'a': 'a', 'b': 'b_mask'}
    """
    matches = {stem: stem for stem in stems if stem in others}
    candidates = defaultdict(list)
    for other in others:
        if other not in matches:
            candidates[_ENDINGS.sub('', other)].append(other)
    remaining = defaultdict(list)
    for stem in stems:
        if stem not in matches:
            remaining[_ENDINGS.sub('', stem)].append(stem)
    for key, same in remaining.items():
        if len(same) == len(candidates.get(key, ())) == 1:
            matches[same[0]] = candidates[key][0]
    return matches


def check_headers(
    pairs: list[ImageMaskPair], resize_masks: bool = False
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Finds files that are no images or truncated, and masks of another size than their image.

    Sizes are those of upright images (EXIF orientation applied). Pixels are decoded only of files
    that do not end as their format does.

    Args:
        pairs: Pairs of a set.
        resize_masks: Whether a size that differs is no problem, unless the shape differs as well.

    Returns:
        The problems, and stem -> description of the masks to be resized.
    """
    problems, to_resize = defaultdict(list), {}
    with ThreadPoolExecutor(_READERS) as pool:
        for pair, (pair_problems, sizes) in zip(pairs, pool.map(_check_pair, pairs), strict=True):
            for kind, text in pair_problems:
                problems[kind].append(text)
            if sizes[1:] and sizes[0] != sizes[1]:
                text = size_mismatch(pair, *sizes)
                if resize_masks and _have_same_shape(*sizes):
                    to_resize[pair.stem] = text
                else:
                    problems[OTHER_SIZE].append(text)
    return dict(problems), to_resize


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
        if _is_image_name(path):
            yield stem_of(path), path


def _is_image_name(path: Path) -> bool:
    # macOS adds a hidden `._name.jpg` to every image on foreign disks
    return not path.name.startswith('.') and path.suffix.lower() in IMAGE_SUFFIXES


def short_name(path: Path) -> str:
    """Returns 'im/name.jpg' in quotes, the name of a file in messages."""
    return f"'{printable(path.parent.name)}/{printable(path.name)}'"


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
    subfolders = {path.name.lower(): path for path in subfolders_of(folder)}
    for name in names:
        if name in subfolders:
            return subfolders[name]
    raise FileNotFoundError(
        f'no folder {folder / "|".join(names)}: expected <data_root>/<subset>/{IMAGE_DIRS[0]} and '
        f".../{MASK_DIRS[0]}, or other names of these, got data_root/subset='{folder}'"
        f'{list_subfolders(folder)}'
    )


def subfolders_of(folder: Path) -> list[Path]:
    """Returns the folders in a folder, except hidden ones, sorted; none if there is no folder."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in paths if path.is_dir() and path.name[0] != '.']


def _passed_over(folder: Path, *dirs: Path) -> dict[str, list[str]]:
    """Returns what is passed over in a set and its two folders `dirs`, by kind."""
    # other names of the two folders
    folders = [path for path in subfolders_of(folder) if path not in dirs]
    folders = [path for path in folders if path.name.lower() in (*IMAGE_DIRS, *MASK_DIRS)]
    images = []
    for path in dirs:
        folders += [inner for inner in subfolders_of(path) if not _is_image_name(inner)]
        files = sorted(file for file in path.iterdir() if file.name[0] != '.')
        images += [file for file in files if file.suffix.lower() in _OTHER_IMAGE_SUFFIXES]
    found = {
        'sub-folder(s) passed over': [short_name(path) for path in folders],
        'image(s) passed over': [_unread(path) for path in images],
    }
    return {kind: names for kind, names in found.items() if names}


def _unread(path: Path) -> str:
    plugin = ' without pillow-heif' if path.suffix.lower() in HEIF_SUFFIXES else ''
    return f'{short_name(path)}, the format is not read{plugin}'


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


def _with_likely_partner(files: dict[str, Path], folder: Path) -> list[str]:
    """Returns the names of files without a partner, and of files of another format that may be it.

    Args:
        files: Files of one folder by stem.
        folder: The other folder.
    """
    others = {stem_of(path): path for path in folder.iterdir() if path.is_file()} if files else {}
    return [
        short_name(path) + (f' (of {_unread(others[stem])})' if stem in others else '')
        for stem, path in files.items()
    ]


def _check_pair(
    pair: ImageMaskPair,
) -> tuple[list[tuple[str, str]], list[tuple[int, int]]]:
    """Returns the problems of the files of a pair, and the sizes of those that have one."""
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
    return problems, sizes


def _have_same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    aspect, other_aspect = (width / height for width, height in (size, other))
    return abs(aspect / other_aspect - 1) <= _LARGEST_CHANGE_OF_ASPECT


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
