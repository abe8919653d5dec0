"""What BiRefNet's training does to images beyond what the datasets' pipelines offer."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmengine.dataset import pseudo_collate
from mmengine.registry import FUNCTIONS
from mmengine.structures import PixelData
from mmseg.registry import TRANSFORMS
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn import functional as F


@TRANSFORMS.register_module()
class RandomPepper(BaseTransform):
    """Make a few pixels of ``img`` black or white.

    Args:
        share: of the pixels that are drawn, each anew. (Released training: 0.0015.)

    Raises:
        ValueError: the share is not in [0, 1].
    """

    def __init__(self, share: float = 0.0015) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f'`share` is {share}, expected a share of the pixels in [0, 1].')
        self.share = share

    @cache_randomness
    def _draw(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        number = int(self.share * height * width)
        rows, columns = (np.random.randint(side, size=number) for side in (height, width))
        return rows, columns, np.random.choice(np.uint8([0, 255]), size=(number, 1))

    def transform(self, results: dict) -> dict:
        """Pepper ``results['img']`` (uint8 [H, W, 3])."""
        image = results['img'].copy()
        rows, columns, values = self._draw(*image.shape[:2])
        image[rows, columns] = values
        results['img'] = image
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(share={self.share})'


@FUNCTIONS.register_module()
def collate_at_random_size(
    samples: Sequence[dict], sides: tuple[int, int] = (256, 2304), divisor: int = 32
) -> dict:
    """A batch whose images and masks are stretched to one random size.

    Args:
        samples: of `PackDISInputs`, of any sizes.
        sides: lowest and highest height and width, each uniform and independent of the other.
        divisor: of which they are multiples.

    Returns:
        'inputs': B uint8 images [3, H, W]; 'data_samples': B samples, with `gt_alpha` [1, H, W] and
        the `gt_sem_seg` that follows from it.

    Raises:
        ValueError: no multiple lies between the sides; a sample has an edge, which cannot be
            stretched.
    """
    lowest, highest = -(-sides[0] // divisor), sides[1] // divisor
    if not 0 < lowest <= highest:
        raise ValueError(f'`sides` are {sides}, expected multiples of {divisor} between them.')
    size = tuple(int(side) * divisor for side in np.random.randint(lowest, highest + 1, size=2))
    return pseudo_collate(
        [
            dict(
                inputs=_stretch(sample['inputs'], size),
                data_samples=_stretch_truth(sample['data_samples'], size),
            )
            for sample in samples
        ]
    )


def _stretch_truth(sample: SegDataSample, size: tuple[int, int]) -> SegDataSample:
    if 'gt_edge_map' in sample:
        raise ValueError(
            "a sample with 'gt_edge_map' at a random size: expected a pipeline without "
            "dict(type='GenerateDISEdge'), for an edge would become thicker or thinner"
        )
    alpha = _stretch(sample.gt_alpha.data, size)
    stretched = SegDataSample(metainfo={**sample.metainfo, 'img_shape': size})
    stretched.gt_alpha = PixelData(data=alpha)
    stretched.gt_sem_seg = PixelData(data=(alpha > 0.5).long())
    return stretched


def _stretch(image: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(image[None], size, mode='bilinear', antialias=True)[0]
