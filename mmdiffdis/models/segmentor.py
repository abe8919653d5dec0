"""Base class of the segmentors: strict `test_cfg`, predictions at the images' original sizes."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ..structures import set_prediction, to_original_size
from .settings import store_settings


def complete(name: str, config: dict | None, defaults: dict) -> dict:
    """Returns `config` with `defaults` for the keys that it lacks.

    Raises:
        ValueError: If `config` has a key without a default.
    """
    unknown = set(config or {}) - set(defaults)
    if unknown:
        raise ValueError(f'{name} has {sorted(unknown)}: expected only {sorted(defaults)}')
    return {**defaults, **(config or {})}


def unnamed_samples(inputs: Tensor) -> list[SegDataSample]:
    """Returns samples without a file name, whose original size is that of `inputs`."""
    shape = dict(ori_shape=tuple(inputs.shape[-2:]))
    return [SegDataSample(metainfo=shape) for _ in inputs]


def normalisation(config: dict | None, data_preprocessor: nn.Module) -> dict[str, float | bool]:
    """Returns what a preprocessor does to the colours of images, for `store_settings`.

    Args:
        config: Its config; None for a model inside of another.
        data_preprocessor: The preprocessor, for the defaults of its config.
    """
    if not isinstance(config, dict):
        return {}
    settings = {
        f'{name}.{i}': value
        for name in ('mean', 'std')
        for i, value in enumerate(config.get(name) or ())
    }
    for name in ('bgr_to_rgb', 'channel_conversion'):  # of ours, of mmseg's
        if hasattr(data_preprocessor, name):
            settings['bgr_to_rgb'] = getattr(data_preprocessor, name)
    return {f'data_preprocessor.{name}': value for name, value in settings.items()}


class DISSegmentor(BaseSegmentor):
    """Base class of DiffDIS and its baselines. A subclass implements `loss` and `predict`.

    Tools ask models for these methods; a model without one is treated as a plain network:
    `set_precision(dtype, encoder_dtype)`, `set_vae_slicing(enabled)`, `compiled_blocks()`,
    `cost_parts()`; and for `graph_methods`, see `apis.cuda_graphs`.

    A checkpoint holds the normalisation of the images, and one with another is refused.

    Attributes:
        TEST_DEFAULTS: Keys of `test_cfg` and their defaults.
        threshold: Foreground probability above which a pixel is foreground.

    Args:
        test_cfg: Settings of the prediction.
        data_preprocessor: Config of the preprocessor.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If `test_cfg` has an unknown key.
    """

    TEST_DEFAULTS: ClassVar[dict[str, Any]] = {}
    threshold = 0.5

    def __init__(
        self,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.test_cfg = complete('test_cfg', test_cfg, self.TEST_DEFAULTS)
        store_settings(self, **normalisation(data_preprocessor, self.data_preprocessor))

    def postprocess_result(
        self, maps: Sequence[Tensor], data_samples: list[SegDataSample]
    ) -> list[SegDataSample]:
        """Writes maps to samples, unflipped and at the images' original sizes.

        Args:
            maps: [mask] or [mask, edge], each [B, 1, h, w] in [0, 1].
            data_samples: Samples with `ori_shape` and, after a flip, `flip_direction`.

        Returns:
            The samples with `seg_logits` (foreground probability in [0, 1], [1, H, W]),
            `pred_sem_seg` (0 or 1, uint8) and, if there is an edge, `pred_edge_map`.
        """
        for i, sample in enumerate(data_samples):
            mask, *edge = [to_original_size(batch[i], sample.metainfo) for batch in maps]
            set_prediction(sample, mask, self.threshold)
            if edge:
                sample.set_data(dict(pred_edge_map=PixelData(data=edge[0])))
        return data_samples

    def encode_decode(
        self, inputs: Tensor, batch_data_samples: list[SegDataSample] | None = None
    ) -> Tensor:
        """Returns foreground probabilities, [B, 1, H, W] in [0, 1], at the size of the inputs or,
        with samples, at their common original size."""
        samples = self.predict(inputs, batch_data_samples)
        return torch.stack([sample.seg_logits.data for sample in samples])

    def _forward(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> Tensor:
        return self.encode_decode(inputs, data_samples)
