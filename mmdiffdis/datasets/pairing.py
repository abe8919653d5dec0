"""Which images and masks of a folder belong together, and what is wrong with them."""

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
# the first that is there counts
IMAGE_DIRS = ('im', 'image', 'images')
TRUTH_DIRS = ('gt', 'mask', 'masks')

# Headers are small and disks far away: threads wait for many at once.
_READERS = 8
# What the files of a format begin and, if whole and without an addition, end with.
_ENDS = {b'\x89PNG': b'IEND\xaeB`\x82', b'\xff\xd8': b'\xff\xd9', b'GIF8': b';'}


@dataclass(frozen=True)
class Pair:
    """An image and its mask; `stem` is the file name up to the suffix, in Unicode's form NFC."""

    stem: str
    image: Path
    truth: Path


@dataclass
class Pairing:
    """What `find_pairs` found.

    Attributes:
        pairs: sorted by stem.
        problems: kind of problem -> the files that have it, as ``im/name.jpg``, with details.
    """

    pairs: list[Pair]
    problems: dict[str, list[str]] = field(default_factory=dict)


def find_pairs(folder: Path) -> Pairing:
    """Pairs of ``folder/{im,gt}`` (or their aliases), by stem; reads names and file sizes only.

    Hidden files and those without an image's suffix are passed over.

    Raises:
        FileNotFoundError: if one of the two folders is missing.
    """
    dirs = []
    for names in (IMAGE_DIRS, TRUTH_DIRS):
        there = [folder / name for name in names if (folder / name).is_dir()]
        if not there:
            raise FileNotFoundError(
                f'no folder {folder / "|".join(names)}. Expected <data_root>/<subset>/im (or '
                'image, images) and .../gt (or mask, masks); got data_root/subset = '
                f"'{folder}'" + what_is_there(folder)
            )
        dirs.append(there[0])
    problems = defaultdict(list)
    images, truths = (_by_stem(path, problems) for path in dirs)
    if images and truths:
        of_images, of_truths = dirs
        problems['image(s) without a mask'] = _without_partner(images, truths, of_truths)
        problems['mask(s) without an image'] = _without_partner(truths, images, of_images)
    stems = sorted(images.keys() & truths.keys())
    pairs = [Pair(stem, images[stem], truths[stem]) for stem in stems]
    return Pairing(pairs, {kind: names for kind, names in problems.items() if names})


def check_headers(pairs: list[Pair]) -> dict[str, list[str]]:
    """Problems of files that are no images or cut off, and of masks of another size.

    Sizes are of upright pictures: what EXIF says to both is honoured. Pixels are read only of files
    that do not end as their format does.
    """
    problems = defaultdict(list)
    with ThreadPoolExecutor(_READERS) as pool:
        for found in pool.map(_check_pair, pairs):
            for kind, text in found:
                problems[kind].append(text)
    return dict(problems)


def check_kinds_of_masks(pairs: list[Pair], full_scale: int | None) -> dict[str, list[str]]:
    """Problems of masks that cannot be used, found in the first mask of each kind of file.

    A kind is a suffix and, of PNGs, a bit depth and colour type. ``full_scale`` is that of
    ``to_alpha``. What cannot be read is passed over, see ``check_headers``.
    """
    problems = defaultdict(list)
    for path in _one_of_each_kind(pair.truth for pair in pairs):
        try:
            mask = read_image(str(path))
        except (OSError, ValueError):
            continue
        try:
            to_alpha(mask, full_scale)
        except ValueError as error:
            text = f'{name_of(path)}, maybe others of its kind ({error})'
            problems['unusable mask(s)'].append(text)
    return dict(problems)


def report(problems: dict[str, list[str]], show: int = 5) -> list[str]:
    """``['3 image(s) without a mask: im/a.jpg, ...']``, one line per kind of problem."""
    lines = []
    for kind, names in problems.items():
        more = f' and {len(names) - show} more' if len(names) > show else ''
        lines.append(f'{len(names)} {kind}: {", ".join(names[:show])}{more}')
    return lines


def image_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """(stem, path) of what is named like an image in ``folder``, sorted by path."""
    for path in sorted(folder.iterdir()):
        # hidden files: macOS leaves `._name.jpg` beside every picture on foreign disks
        if not path.name.startswith('.') and path.suffix.lower() in IMAGE_SUFFIXES:
            yield stem_of(path), path


def _by_stem(folder: Path, problems: dict[str, list[str]]) -> dict[str, Path]:
    """Image files of ``folder`` by stem; adds what is wrong with them to ``problems``."""
    files = {}
    for stem, path in image_files(folder):
        if not path.is_file():
            problems['folder(s) or broken link(s) named like an image'].append(name_of(path))
            continue
        if stem in files:
            problems['file(s) whose stem another file has too'].append(name_of(path))
        files[stem] = path
        if path.stat().st_size == 0:
            problems['empty file(s)'].append(name_of(path))
    if not files:
        text = f"no image file in '{folder}' (looked for {' '.join(_FORMATS)})"
        if inner := [path.name for path in sorted(folder.iterdir()) if path.is_dir()]:
            text += f', but the folder(s) {inner[:5]}'
        problems['empty folder(s)'].append(text)
    return files


def _check_pair(pair: Pair) -> list[tuple[str, str]]:
    sizes, problems = [], []
    paths = pair.image, pair.truth
    for path in paths:
        try:
            reason = 'no image'
            size = read_size(path)
            reason = 'cut off or damaged'
            if not _ends_as_it_should(path):
                read_image(str(path))
            sizes.append(size)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else reason
            if path.stat().st_size:  # find_pairs has named the empty ones
                problems.append(('unreadable file(s)', f'{name_of(path)} ({reason})'))
    if len(sizes) == 2 and sizes[0] == sizes[1][::-1] != sizes[1]:
        # perhaps turned by what stands behind the pixels, where `read_size` does not look
        sizes = [_decoded_size(path, size) for path, size in zip(paths, sizes, strict=True)]
    if len(sizes) == 2 and sizes[0] != sizes[1]:
        problems.append(('mask(s) of another size than their image', sizes_text(pair, *sizes)))
    return problems


def _ends_as_it_should(path: Path) -> bool:
    """Whether the file's last bytes are those of a whole one, as far as its format has any."""
    with path.open('rb') as file:
        head = file.read(4)
        file.seek(-min(8, path.stat().st_size), os.SEEK_END)
        tail = file.read()
    ends = [end for begin, end in _ENDS.items() if head.startswith(begin)]
    return not ends or tail.endswith(ends[0])


def _one_of_each_kind(paths: Iterable[Path]) -> list[Path]:
    """The first file of each suffix and, of PNGs, of each bit depth and colour type."""
    firsts = {}
    for path in paths:
        with path.open('rb') as file:
            head = file.read(26)
        kind = head[24:] if head.startswith(b'\x89PNG') else b''
        firsts.setdefault((path.suffix.lower(), kind), path)
    return [*firsts.values()]


def _decoded_size(path: Path, otherwise: tuple[int, int]) -> tuple[int, int]:
    try:
        return read_image(str(path)).size
    except ValueError:
        return otherwise


def sizes_text(pair: Pair, of_image: tuple[int, int], of_truth: tuple[int, int]) -> str:
    """``'gt/name.png' (40x30, its image 80x60)``, and where to look if one is turned."""
    text = '{}x{}, its image {}x{}'.format(*of_truth, *of_image)
    if of_image == of_truth[::-1]:
        text += '; one is turned: compare their EXIF orientations, which are honoured'
    return f'{name_of(pair.truth)} ({text})'


def _without_partner(files: dict[str, Path], partners: dict[str, Path], folder: Path) -> list[str]:
    """Names of files without a partner, and what may be it in its folder, but is no image."""
    alone = [stem for stem in files if stem not in partners]
    others = {stem_of(path): path for path in folder.iterdir() if path.is_file()} if alone else {}
    return [
        name_of(files[stem])
        + (f' (of {name_of(others[stem])}, the format is not read)' if stem in others else '')
        for stem in alone
    ]


def name_of(path: Path) -> str:
    """``'im/name.jpg'``, in quotes: how a file is called in messages."""
    return f"'{path.parent.name}/{path.name}'"


def what_is_there(folder: Path) -> str:
    """The end of a sentence about a folder that lacks something."""
    if not folder.is_dir():
        return ', which does not exist.'
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    return f', which holds the folders {names}.' if names else ', which holds no folders.'
