"""Packing of a pipeline's results into tensors for models and metrics."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import PixelData
from mmseg.registry import TRANSFORMS
from mmseg.structures import SegDataSample

from ...structures import SOFT_FIELDS


@TRANSFORMS.register_module()
class PackDISInputs(BaseTransform):
    """Packs `dict(inputs, data_samples)`: image uint8 [3, H, W] BGR and a `SegDataSample` with

    * `gt_alpha` float32 [1, H, W] in [0, 1], the soft mask;
    * `gt_sem_seg` int64 [1, H, W] = `gt_alpha > 0.5`, so that the hard label agrees with the soft
      one after any augmentation;
    * `gt_edge_map` float32 [1, H, W] in [0, 1], if the pipeline made one.

    Without ground truth in the pipeline (prediction), the sample has meta information only.

    Args:
        meta_keys: Keys of the results to keep as meta information, where present.
    """

    def __init__(
        self,
        meta_keys: Sequence[str] = (
            'img_path',
            'seg_map_path',
            'stem',
            'subset',
            'ori_shape',
            'img_shape',
            'pad_shape',
            'scale_factor',
            'flip',
            'flip_direction',
            'reduce_zero_label',
        ),
    ) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        """Packs an image and its ground truth.

        Raises:
            ValueError: If ground truth was loaded without `gt_alpha`.
        """
        if 'gt_seg_map' in results and 'gt_alpha' not in results:
            raise ValueError(
                "PackDISInputs got 'gt_seg_map' without 'gt_alpha'; load masks with "
                'LoadDISAnnotations (stock LoadAnnotations reads 255 as "ignore")'
            )
        sample = SegDataSample()
        for key in SOFT_FIELDS:
            if key in results:
                field = torch.from_numpy(np.ascontiguousarray(results[key]))
                field = field / 255 if field.dtype == torch.uint8 else field.float()
                setattr(sample, key, PixelData(data=field[None]))
        if 'gt_alpha' in results:
            sample.gt_sem_seg = PixelData(data=(sample.gt_alpha.data > 0.5).long())
        sample.set_metainfo({key: results[key] for key in self.meta_keys if key in results})
        image = np.ascontiguousarray(results['img'])
        planes = np.empty((image.shape[2], *image.shape[:2]), image.dtype)
        for channel, plane in enumerate(planes):  # several times as fast as NumPy's copy
            cv2.extractChannel(image, channel, plane)
        return {'inputs': torch.from_numpy(planes), 'data_samples': sample}

    def __repr__(self) -> str:
        return f'{type(self).__name__}(meta_keys={self.meta_keys})'
