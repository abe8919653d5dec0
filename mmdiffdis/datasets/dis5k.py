"""DIS5K, and any other folder pair of images and soft masks."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

IMAGE_SUFFIXES = frozenset(('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp'))
TRUTH_DIRS = ('gt', 'mask', 'masks')


@DATASETS.register_module()
class DIS5KDataset(BaseSegDataset):
    """Images and masks of one or several subsets, paired by file stem.

    Layout (https://xuebinqin.github.io/dis, and every other set in two folders)::

        <data_root>/<subset>/im/<stem>.<any image suffix>
        <data_root>/<subset>/gt/<stem>.<any image suffix>      (or mask/, masks/)

    Each item is ``dict(img_path, seg_map_path, stem, subset, ...)``, sorted by stem within a
    subset, subsets in the order given. Stems may hold ``#``, spaces, dots and any script.

    Args:
        data_root: folder of the subsets.
        subset: name(s) of the subset(s), e.g. ``'DIS-TR'`` or ``['DIS-TE1', 'DIS-TE2']``; ``''`` or
            ``'.'`` when ``data_root`` itself holds the two folders.
        kwargs: of ``BaseSegDataset`` (``pipeline``, ``indices``, ``test_mode``, ...).

    Raises:
        FileNotFoundError: if a folder is missing.
        ValueError: if a folder is empty, a stem occurs twice, or an image or mask has no partner.
            All cases are named in one message, before training starts.
    """

    METAINFO = {'classes': ('background', 'foreground'), 'palette': [[0, 0, 0], [255, 255, 255]]}

    def __init__(self, data_root: str, subset: str | Sequence[str] = '', **kwargs) -> None:
        self.subsets = [subset] if isinstance(subset, str) else list(subset)
        if not self.subsets:
            raise ValueError("`subset` is an empty list; name at least one, e.g. subset='DIS-VD'.")
        super().__init__(data_root=str(data_root), **kwargs)

    def load_data_list(self) -> list[dict]:
        """One dict per image of all subsets; see the class for its keys and errors."""
        items = []
        for subset in self.subsets:
            folder = Path(self.data_root) / subset
            name = folder.resolve().name if subset in ('', '.') else subset
            for stem, image, truth in _pairs(folder):
                items.append(
                    {
                        'img_path': str(image),
                        'seg_map_path': str(truth),
                        'stem': stem,
                        'subset': name,
                        'label_map': self.label_map,
                        'reduce_zero_label': self.reduce_zero_label,
                        'seg_fields': [],
                    }
                )
        return items


def _pairs(folder: Path) -> list[tuple[str, Path, Path]]:
    """(stem, image, truth) of ``folder``, sorted by stem; raises as ``DIS5KDataset`` says."""
    image_dir = folder / 'im'
    truth_dirs = [folder / name for name in TRUTH_DIRS if (folder / name).is_dir()]
    if not image_dir.is_dir() or not truth_dirs:
        missing = image_dir if not image_dir.is_dir() else folder / '|'.join(TRUTH_DIRS)
        raise FileNotFoundError(
            f'no folder {missing}. Expected <data_root>/<subset>/im and .../gt (or mask, masks); '
            f"got data_root/subset = '{folder}'" + _what_is_there(folder)
        )
    images, image_problems = _by_stem(image_dir)
    truths, truth_problems = _by_stem(truth_dirs[0])
    problems = image_problems + truth_problems
    if images and truths:
        problems += _listing(
            'image(s) without a mask', [images[s] for s in images if s not in truths]
        )
        problems += _listing(
            'mask(s) without an image', [truths[s] for s in truths if s not in images]
        )
    if problems:
        raise ValueError(
            f"'{folder}' is not a clean set of image and mask pairs:\n  "
            + '\n  '.join(problems)
            + '\nAn image and its mask share the file name up to the suffix; rename or move away '
            'the files above.'
        )
    return [(stem, images[stem], truths[stem]) for stem in sorted(images)]


def _by_stem(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Image files of ``folder`` by stem, and what is wrong with them."""
    files = {}
    duplicates = []
    for path in sorted(folder.iterdir()):
        # hidden files: macOS leaves `._name.jpg` beside every picture on foreign disks
        if path.name.startswith('.') or path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        # macOS writes names decomposed, others composed; the same name must match and give the same
        # noise
        stem = unicodedata.normalize('NFC', path.stem)
        if stem in files:
            duplicates.append(path)
        files[stem] = path
    problems = _listing('file(s) whose stem another file has too', duplicates)
    if not files:
        suffixes = ' '.join(sorted(s[1:] for s in IMAGE_SUFFIXES))
        problems.append(f"no image file in '{folder}' (looked for {suffixes})")
    return files, problems


def _listing(what: str, paths: list[Path], show: int = 5) -> list[str]:
    """``['3 images without ...: a, b, c']``, or nothing when there is nothing to list."""
    if not paths:
        return []
    names = ', '.join(f"'{path.parent.name}/{path.name}'" for path in paths[:show])
    more = f' and {len(paths) - show} more' if len(paths) > show else ''
    return [f'{len(paths)} {what}: {names}{more}']


def _what_is_there(folder: Path) -> str:
    if not folder.is_dir():
        return ', which does not exist.'
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    return f', which holds the folders {names}.'
