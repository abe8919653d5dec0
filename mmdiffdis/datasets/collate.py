"""Collate function for batches of random size."""

from collections.abc import Sequence

import numpy as np
from mmengine.dataset import pseudo_collate
from mmengine.registry import FUNCTIONS
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn import functional as F


@FUNCTIONS.register_module()
def collate_at_random_size(
    samples: Sequence[dict], sides: tuple[int, int] = (256, 2304), divisor: int = 32
) -> dict:
    """Returns a batch whose images and masks are resized to one random size.

    Args:
        samples: Samples of `PackDISInputs`, of any sizes.
        sides: Lowest and highest height and width, which are sampled independently.
        divisor: Number whose multiples they are.

    Returns:
        'inputs': B uint8 images [3, H, W]; 'data_samples': B samples, with `gt_alpha` [1, H, W] and
        the `gt_sem_seg` that follows from it.

    Raises:
        ValueError: If there is no multiple between the sides, or a sample has an edge, which cannot
            be resized.
    """
    lowest, highest = -(-sides[0] // divisor), sides[1] // divisor
    if not 0 < lowest <= highest:
        raise ValueError(f'sides={sides}: expected multiples of {divisor} between them')
    size = tuple(int(side) * divisor for side in np.random.randint(lowest, highest + 1, size=2))
    return pseudo_collate(
        [
            dict(
                inputs=_resize(sample['inputs'], size),
                data_samples=_resize_mask(sample['data_samples'], size),
            )
            for sample in samples
        ]
    )


def _resize_mask(sample: SegDataSample, size: tuple[int, int]) -> SegDataSample:
    if 'gt_edge_map' in sample:
        raise ValueError(
            "a sample with 'gt_edge_map' at a random size: expected a pipeline without "
            "dict(type='GenerateDISEdge'), because resizing changes the width of an edge"
        )
    alpha = _resize(sample.gt_alpha.data, size)
    resized = SegDataSample(metainfo={**sample.metainfo, 'img_shape': size})
    resized.gt_alpha = PixelData(data=alpha)
    resized.gt_sem_seg = PixelData(data=(alpha > 0.5).long())
    return resized


def _resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(image[None], size, mode='bilinear', antialias=True)[0]
