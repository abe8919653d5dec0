"""Loading of images and soft masks, and generation of the edge target."""

from typing import Literal

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS
from PIL import Image

from ...images.reading import ImageError, read_bgr, read_image
from ...images.values import to_alpha


@TRANSFORMS.register_module()
class LoadDISImage(BaseTransform):
    """Loads `img` uint8 [H, W, 3] BGR, upright, with `img_shape` and `ori_shape`; see `to_rgb`.

    mmcv's loader keeps the hidden colours of transparent pixels, and decodes truncated files to
    half-grey images without an error.

    Args:
        backend_args: Arguments of MMEngine's file backend.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Reads `results['img_path']`."""
        results['img'] = read_bgr(results['img_path'], self.backend_args)
        results['img_shape'] = results['ori_shape'] = results['img'].shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'


@TRANSFORMS.register_module()
class LoadDISAnnotations(BaseTransform):
    """Loads the soft mask `gt_alpha` [H, W] and `gt_seg_map` uint8 {0, 1}; see `to_alpha`.

    `gt_seg_map` is 1 where `gt_alpha` is above half of its range. Both are listed in `seg_fields`.
    After a resizing of the image (as in mmseg's test pipelines), the mask keeps the original size.

    Args:
        full_scale: Value of the mask files that means full foreground; None: found for each file.
        dtype: Type of `gt_alpha` in the pipeline: 'float32' in [0, 1], or 'uint8' in [0, 255],
            which takes a quarter of the memory and makes all later transforms faster. Samples
            always hold float32 in [0, 1].
        backend_args: Arguments of MMEngine's file backend.

    Raises:
        ValueError: If there is no such dtype.
    """

    def __init__(
        self,
        full_scale: int | None = None,
        dtype: Literal['float32', 'uint8'] = 'float32',
        backend_args: dict | None = None,
    ) -> None:
        if dtype not in ('float32', 'uint8'):
            raise ValueError(f"dtype={dtype!r}: expected 'float32' or 'uint8'")
        self.full_scale = full_scale
        self.dtype = dtype
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Reads `results['seg_map_path']` and compares its size with the image's.

        A mask of another size is resized if `results['resize_mask']` is true.

        Raises:
            ImageError: If the file is damaged, no usable mask, or not of the image's size.
        """
        path = results['seg_map_path']
        image = read_image(path, self.backend_args)
        try:
            alpha = to_alpha(image, self.full_scale, np.dtype(self.dtype))
        except ValueError as error:
            raise ImageError(f"cannot use the mask '{path}': {error}") from error
        height, width = results['ori_shape'][:2]
        if alpha.shape != (height, width) and results.get('resize_mask'):
            alpha = Image.fromarray(alpha).resize((width, height), Image.Resampling.BILINEAR)
            alpha = np.array(alpha)
        if alpha.shape != (height, width):
            raise ImageError(
                f"the mask '{path}' is {alpha.shape[1]}x{alpha.shape[0]} pixels, but its image "
                f"'{results['img_path']}' is {width}x{height}; export the mask at the size of the "
                'image, or set resize_masks=True of DIS5KDataset'
            )
        half = 127 if alpha.dtype == np.uint8 else 0.5
        results['gt_alpha'] = alpha
        results['gt_seg_map'] = (alpha > half).view(np.uint8)
        results['seg_fields'] = _add_fields(results, 'gt_seg_map', 'gt_alpha')
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(full_scale={self.full_scale}, dtype={self.dtype!r}, '
            f'backend_args={self.backend_args})'
        )


@TRANSFORMS.register_module()
class GenerateDISEdge(BaseTransform):
    """Makes the binary `gt_edge_map` [H, W] from `gt_alpha`, of the same type, in `seg_fields`.

    5x5 dilation minus 5x5 erosion of the 8-bit mask; differences of 6 grey levels or more are edge
    (rule of the released DiffDIS training data). The width is in pixels of the current mask, so
    this step belongs right after `LoadDISAnnotations`, at full resolution.
    """

    kernel_size = 5
    smallest_step = 6

    def transform(self, results: dict) -> dict:
        """Adds the edge of `results['gt_alpha']`.

        Raises:
            ValueError: If there is no `gt_alpha`.
        """
        if 'gt_alpha' not in results:
            raise ValueError(
                "no 'gt_alpha' for GenerateDISEdge; put LoadDISAnnotations before it in the "
                'pipeline'
            )
        alpha = results['gt_alpha']
        is_bytes = alpha.dtype == np.uint8
        grey = alpha if is_bytes else cv2.convertScaleAbs(alpha, alpha=255)
        kernel = np.ones((self.kernel_size, self.kernel_size), np.uint8)
        step = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, kernel)
        _, edge = cv2.threshold(step, self.smallest_step - 1, 255, cv2.THRESH_BINARY)
        results['gt_edge_map'] = edge if is_bytes else edge.astype(np.float32) / 255
        results['seg_fields'] = _add_fields(results, 'gt_edge_map')
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


def _add_fields(results: dict, *names: str) -> list[str]:
    """Returns `seg_fields` with `names` as a new list, because copies of `results` share it."""
    fields = results.get('seg_fields', [])
    return fields + [name for name in names if name not in fields]
