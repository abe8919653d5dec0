"""DIS5K, and any other set of images and soft masks in two folders."""

import logging
from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from .pairing import check_headers, check_kinds_of_masks, pair_images_and_masks, summarise_problems
from .splitting import PARTS, split_stems
from .transforms.loading import LoadDISAnnotations

_LISTED_FILES = 100  # of each kind, in warnings


@DATASETS.register_module()
class DIS5KDataset(BaseSegDataset):
    """Images and masks of one or several subsets, paired by file stem.

    Layout (https://xuebinqin.github.io/dis, and any other set in two folders):

        <data_root>/<subset>/im/<stem>.<any image suffix>      (or image(s)/, img(s)/)
        <data_root>/<subset>/gt/<stem>.<any image suffix>      (or gts/, mask(s)/, label(s)/)

    Each item is `dict(img_path, seg_map_path, stem, subset, ...)`, sorted by stem within a subset,
    subsets in the given order. Stems may contain `#`, spaces, dots and any script. The mask of
    `1.jpg` may be called `1_mask.png`, `1_rgba.png` or `1.jpg.png` as well. Sub-folders and images
    of formats that are not read are passed over with a warning. `DISMetric` reports scores of each
    `subset` and of all images. Sets with different roots are joined by MMEngine's `ConcatDataset`,
    and reported in the same way. With `SeededSampler`, the random augmentation of a sample is a
    function of the seed and its position.

    Args:
        data_root: Folder of the subsets.
        subset: Name(s) of the subset(s), e.g. 'DIS-TR' or ['DIS-TE1', 'DIS-TE2']; '' or '.' if
            `data_root` itself holds the two folders.
        part: 'train' or 'val', the parts into which `split_stems` divides each subset; None: all.
        val_share: Approximate share of the images in 'val'.
        resize_masks: Whether `LoadDISAnnotations` resizes masks of another size than their image,
            which are listed in a warning. Masks of another shape (aspect ratio) are an error still.
        kwargs: Arguments of `BaseSegDataset` (`pipeline`, `indices`, `test_mode`, ...).

    Raises:
        FileNotFoundError: If a folder is missing.
        ValueError: If an argument is invalid; or if a folder is empty, a stem occurs twice, an
            image or mask has no partner, is no image, is truncated or has another size than its
            partner, or the first mask of a kind of file (suffix, colours) cannot be used. One
            message names all cases before training starts. The pixels of all files are checked by
            `tools/analysis_tools/check_dataset.py`.
    """

    METAINFO = {'classes': ('background', 'foreground'), 'palette': [[0, 0, 0], [255, 255, 255]]}

    def __init__(
        self,
        data_root: str,
        subset: str | Sequence[str] = '',
        part: str | None = None,
        val_share: float = 0.2,
        resize_masks: bool = False,
        **kwargs,
    ) -> None:
        self.subsets = [subset] if isinstance(subset, str) else list(subset)
        if not self.subsets:
            raise ValueError("subset=[]: expected at least one name, e.g. subset='DIS-VD'")
        if len({*self.subsets}) < len(self.subsets):
            raise ValueError(f'duplicate names in `subset`: {self.subsets}')
        if part not in (None, *PARTS):
            raise ValueError(f'part={part!r}: expected one of {(None, *PARTS)}')
        self.part, self.val_share = part, val_share
        self.resize_masks = resize_masks
        super().__init__(data_root=str(data_root), **kwargs)

    def files(self) -> list[str]:
        """Returns the paths of all images and masks."""
        items = [self.get_data_info(i) for i in range(len(self))]
        return [item[key] for item in items for key in ('img_path', 'seg_map_path')]

    def load_data_list(self) -> list[dict]:
        """Returns one dict per image of all subsets; see the class for its keys and errors."""
        items, problems = [], []
        for subset in self.subsets:
            folder = Path(self.data_root) / subset
            name = folder.resolve().name if subset in ('', '.') else subset
            pairing = pair_images_and_masks(folder)
            header_problems, to_resize = check_headers(pairing.pairs, self.resize_masks)
            remarks = dict(pairing.passed_over)
            if to_resize:
                remarks['mask(s) resized'] = [*to_resize.values()]
            for line in summarise_problems(remarks, _LISTED_FILES):
                print_log(f"'{folder}': {line}", logger='current', level=logging.WARNING)
            subset_problems = pairing.problems | header_problems
            # other loaders take other masks
            for loader in self.pipeline.transforms:
                if isinstance(loader, LoadDISAnnotations):
                    subset_problems |= check_kinds_of_masks(pairing.pairs, loader.full_scale)
            problems += [f"'{folder}': {line}" for line in summarise_problems(subset_problems)]
            stems = {pair.stem for pair in pairing.pairs}
            if self.part is not None and not subset_problems:
                stems = {*split_stems(sorted(stems), self.val_share)[self.part]}
            for pair in pairing.pairs:
                if pair.stem not in stems:
                    continue
                items.append(
                    {
                        'img_path': str(pair.image),
                        'seg_map_path': str(pair.mask),
                        'stem': pair.stem,
                        'subset': name,
                        'resize_mask': pair.stem in to_resize,
                        'label_map': self.label_map,
                        'reduce_zero_label': self.reduce_zero_label,
                        'seg_fields': [],
                    }
                )
        if problems:
            raise ValueError(
                'invalid image/mask pairs:\n  '
                + '\n  '.join(problems)
                + '\nAn image and its mask share the file name up to the suffix, and the size; '
                'rename, replace or move away the files above '
                '(tools/analysis_tools/check_dataset.py lists them all), or set resize_masks=True '
                'of the data set for masks of another size'
            )
        return items
