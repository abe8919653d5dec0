"""Loading of images and soft masks of every kind that people keep them in, and the edge target."""

from typing import Literal

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from ...images.reading import read_bgr, read_image
from ...images.values import to_alpha


@TRANSFORMS.register_module()
class LoadDISImage(BaseTransform):
    """``img`` uint8 [H, W, 3] BGR, upright, and ``img_shape``, ``ori_shape``; see ``to_rgb``.

    Used instead of mmcv's loader because that one keeps the hidden colours of transparent pixels
    and decodes truncated files to half-grey pictures without a word.

    Args:
        backend_args: of mmengine's file backend.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Read ``results['img_path']``."""
        results['img'] = read_bgr(results['img_path'], self.backend_args)
        results['img_shape'] = results['ori_shape'] = results['img'].shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'


@TRANSFORMS.register_module()
class LoadDISAnnotations(BaseTransform):
    """``gt_alpha`` [H, W], the soft mask, and ``gt_seg_map`` uint8 {0, 1}; see ``to_alpha``.

    ``gt_seg_map`` is 1 where ``gt_alpha`` is above its half. Both are listed in ``seg_fields``. May
    stand after a resizing of the image (the habit of mmseg's test pipelines): the mask then stays
    at the original size.

    Args:
        full_scale: value of the mask files that means full foreground; None finds out per file.
        dtype: of ``gt_alpha`` in the pipeline: ``'float32'`` in [0, 1], or ``'uint8'`` in [0, 255],
            a quarter of the memory, of which all later transforms are faster. A sample holds
            float32 in [0, 1] always.
        backend_args: of mmengine's file backend.

    Raises:
        ValueError: if there is no such dtype.
    """

    def __init__(
        self,
        full_scale: int | None = None,
        dtype: Literal['float32', 'uint8'] = 'float32',
        backend_args: dict | None = None,
    ) -> None:
        if dtype not in ('float32', 'uint8'):
            raise ValueError(f"`dtype` is '{dtype}', expected 'float32' or 'uint8'.")
        self.full_scale = full_scale
        self.dtype = dtype
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Read ``results['seg_map_path']`` and check its size against the image's.

        Raises:
            ValueError: if the file is damaged, no usable mask, or not of the image's size.
        """
        path = results['seg_map_path']
        image = read_image(path, self.backend_args)
        try:
            alpha = to_alpha(image, self.full_scale, np.dtype(self.dtype))
        except ValueError as error:
            raise ValueError(f"cannot use the mask '{path}': {error}") from error
        height, width = results['ori_shape'][:2]
        if alpha.shape != (height, width):
            raise ValueError(
                f"the mask '{path}' is {alpha.shape[1]}x{alpha.shape[0]} pixels, but its image "
                f"'{results['img_path']}' is {width}x{height}. Export the mask at the size of the "
                'image.'
            )
        half = 127 if alpha.dtype == np.uint8 else 0.5
        results['gt_alpha'] = alpha
        results['gt_seg_map'] = (alpha > half).view(np.uint8)
        results['seg_fields'] = _with_fields(results, 'gt_seg_map', 'gt_alpha')
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(full_scale={self.full_scale}, dtype={self.dtype!r}, '
            f'backend_args={self.backend_args})'
        )


@TRANSFORMS.register_module()
class GenerateDISEdge(BaseTransform):
    """``gt_edge_map`` [H, W], all or nothing, from ``gt_alpha`` and of its type.

    It is listed in ``seg_fields``.

    5x5 dilation minus 5x5 erosion of the 8-bit mask; differences of 6 grey levels or more are edge
    (rule of the released DiffDIS training data). The width is in pixels of the mask at hand, so
    this stands right after ``LoadDISAnnotations``, at full resolution.
    """

    kernel_size = 5
    smallest_step = 6

    def transform(self, results: dict) -> dict:
        """Add the edge of ``results['gt_alpha']``."""
        if 'gt_alpha' not in results:
            raise ValueError(
                "GenerateDISEdge found no 'gt_alpha'; put LoadDISAnnotations before it in the "
                'pipeline.'
            )
        alpha = results['gt_alpha']
        is_bytes = alpha.dtype == np.uint8
        grey = alpha if is_bytes else cv2.convertScaleAbs(alpha, alpha=255)
        kernel = np.ones((self.kernel_size, self.kernel_size), np.uint8)
        step = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, kernel)
        _, edge = cv2.threshold(step, self.smallest_step - 1, 255, cv2.THRESH_BINARY)
        results['gt_edge_map'] = edge if is_bytes else edge.astype(np.float32) / 255
        results['seg_fields'] = _with_fields(results, 'gt_edge_map')
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


def _with_fields(results: dict, *names: str) -> list[str]:
    """``seg_fields`` and ``names``, as a new list: copies of ``results`` share the old one."""
    fields = results.get('seg_fields', [])
    return fields + [name for name in names if name not in fields]
