"""DIS5K, and any other folder pair of images and soft masks."""

from collections.abc import Sequence
from pathlib import Path

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from .pairing import check_headers, check_kinds_of_masks, find_pairs, report
from .sampler import seed_draw
from .splitting import PARTS, split_stems
from .transforms.loading import LoadDISAnnotations


@DATASETS.register_module()
class DIS5KDataset(BaseSegDataset):
    """Images and masks of one or several subsets, paired by file stem.

    Layout (https://xuebinqin.github.io/dis, and every other set in two folders)::

        <data_root>/<subset>/im/<stem>.<any image suffix>      (or image/, images/)
        <data_root>/<subset>/gt/<stem>.<any image suffix>      (or mask/, masks/)

    Each item is ``dict(img_path, seg_map_path, stem, subset, ...)``, sorted by stem within a
    subset, subsets in the order given. Stems may hold ``#``, spaces, dots and any script. Metrics
    group by ``subset``: ``DISMetric`` gives figures for each and for all images together. Datasets
    of different roots are joined by mmengine's ``ConcatDataset``, grouped in the same way. With
    ``SeededSampler``, what is random about a sample is a function of the seed and its position.

    Args:
        data_root: folder of the subsets.
        subset: name(s) of the subset(s), e.g. ``'DIS-TR'`` or ``['DIS-TE1', 'DIS-TE2']``; ``''`` or
            ``'.'`` when ``data_root`` itself holds the two folders.
        part: ``'train'`` or ``'val'``: what :func:`split_stems` makes of each subset; None: all.
        val_share: about how much of the pictures ``'val'`` is.
        kwargs: of ``BaseSegDataset`` (``pipeline``, ``indices``, ``test_mode``, ...).

    Raises:
        FileNotFoundError: if a folder is missing.
        ValueError: if a folder is empty, a stem occurs twice, an image or mask has no partner, is
            no image, is cut off, or is not of its partner's size, the first mask of a kind of file
            (suffix, colours) cannot be used, a subset is named twice, or there is no such ``part``.
            All cases are named in one message, before training starts. The pixels of all files are
            read by ``tools/analysis_tools/check_dataset.py``.
    """

    METAINFO = {'classes': ('background', 'foreground'), 'palette': [[0, 0, 0], [255, 255, 255]]}

    def __init__(
        self,
        data_root: str,
        subset: str | Sequence[str] = '',
        part: str | None = None,
        val_share: float = 0.2,
        **kwargs,
    ) -> None:
        self.subsets = [subset] if isinstance(subset, str) else list(subset)
        if not self.subsets:
            raise ValueError("`subset` is an empty list; name at least one, e.g. subset='DIS-VD'.")
        if len({*self.subsets}) < len(self.subsets):
            raise ValueError(f'`subset` is {self.subsets}, expected each name once.')
        if part not in (None, *PARTS):
            raise ValueError(f'`part` is {part!r}, expected one of {(None, *PARTS)}.')
        self.part, self.val_share = part, val_share
        super().__init__(data_root=str(data_root), **kwargs)

    def __getitem__(self, index: int) -> dict:
        seed_draw(index)
        return super().__getitem__(index)

    def files(self) -> list[str]:
        """Paths of all images and masks."""
        items = [self.get_data_info(i) for i in range(len(self))]
        return [item[key] for item in items for key in ('img_path', 'seg_map_path')]

    def load_data_list(self) -> list[dict]:
        """One dict per image of all subsets; see the class for its keys and errors."""
        items, problems = [], []
        for subset in self.subsets:
            folder = Path(self.data_root) / subset
            name = folder.resolve().name if subset in ('', '.') else subset
            found = find_pairs(folder)
            wrong = found.problems | check_headers(found.pairs)
            # other loaders take other masks
            for loader in self.pipeline.transforms:
                if isinstance(loader, LoadDISAnnotations):
                    wrong |= check_kinds_of_masks(found.pairs, loader.full_scale)
            lines = report(wrong)
            problems += [f"'{folder}': {line}" for line in lines]
            chosen = {pair.stem for pair in found.pairs}
            if self.part is not None and not lines:
                chosen = {*split_stems(sorted(chosen), self.val_share)[self.part]}
            for pair in found.pairs:
                if pair.stem not in chosen:
                    continue
                items.append(
                    {
                        'img_path': str(pair.image),
                        'seg_map_path': str(pair.truth),
                        'stem': pair.stem,
                        'subset': name,
                        'label_map': self.label_map,
                        'reduce_zero_label': self.reduce_zero_label,
                        'seg_fields': [],
                    }
                )
        if problems:
            raise ValueError(
                'these are no clean sets of image and mask pairs:\n  '
                + '\n  '.join(problems)
                + '\nAn image and its mask share the file name up to the suffix, and the size; '
                'rename or move away the files above, or replace them. '
                'tools/analysis_tools/check_dataset.py lists them all.'
            )
        return items
