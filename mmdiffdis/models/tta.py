"""Test-time augmentation for segmentors of one or two output channels."""

import math
from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

import numpy as np
import torch
from mmengine.model.test_time_aug import EnhancedBatchDataSamples
from mmengine.structures import PixelData
from mmseg.models import SegTTAModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import SampleList
from PIL import Image
from torch import Tensor

from ..structures import foreground_probability, set_prediction
from .data_preprocessor import stretch


@MODELS.register_module()
class DISTTAModel(SegTTAModel):
    """Mean foreground probability over the passes of a `TestTimeAug` pipeline, for any segmentor.

    mmseg's merge applies the sigmoid a second time to one-channel predictions, which makes every
    pixel foreground. The segmentor's `predict` undoes the flip and resizes to the original size.

    Args:
        module: Segmentor (config or module).
        data_preprocessor: Preprocessor, as of `BaseTTAModel`.
        min_max: Stretch each pass to [0, 1] first, as the released DiffDIS test does.
        scale: (width, height) at which the passes are averaged and truncated to 8 bits before
            Pillow resizes them, as in the released DiffDIS test, whose scale is that of the
            network; None: averaged at the original size, in float.
    """

    def __init__(
        self,
        module,
        data_preprocessor=None,
        min_max: bool = False,
        scale: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(module, data_preprocessor)
        self.min_max = min_max
        self.scale = scale

    def test_step(self, data: dict) -> SampleList:
        """Predicts each pass and merges them.

        Args:
            data: 'inputs' and 'data_samples', each a list of passes, each of these a list of
                images.
        """
        if self.scale is None:
            return super().test_step(data)
        # segmentors resize their predictions to `ori_shape`
        samples = [
            [
                sample.new(metainfo={**sample.metainfo, 'ori_shape': self.scale[::-1]})
                for sample in pass_samples
            ]
            for pass_samples in data['data_samples']
        ]
        merged = super().test_step({**data, 'data_samples': samples})
        for sample, original in zip(merged, data['data_samples'][0], strict=True):
            sample.set_metainfo(dict(ori_shape=original.ori_shape))
            self._resize(sample)
        return merged

    def merge_preds(self, data_samples_list: EnhancedBatchDataSamples) -> SampleList:
        """Returns one sample per image: `seg_logits` [1, H, W] (mean probability), `pred_sem_seg`,
        `pred_edge_map` (mean, if every pass has one), and ground truth and metainfo of the first
        pass.

        Args:
            data_samples_list: The samples of the passes of each image.
        """
        return [self._merge(passes) for passes in data_samples_list]

    def _merge(self, passes: list[SegDataSample]) -> SegDataSample:
        probabilities = [foreground_probability(sample) for sample in passes]
        if self.min_max:
            probabilities = [stretch(probability) for probability in probabilities]
        probability = torch.stack(probabilities).mean(dim=0, keepdim=True)  # [1, H, W]

        merged = SegDataSample(metainfo=passes[0].metainfo)
        for key in passes[0].keys():  # noqa: SIM118, a sample is not iterable
            if key.startswith('gt_'):
                setattr(merged, key, getattr(passes[0], key))
        set_prediction(merged, probability, self._threshold)
        if all('pred_edge_map' in sample for sample in passes):
            edges = torch.stack([sample.pred_edge_map.data for sample in passes])
            merged.pred_edge_map = PixelData(data=edges.mean(dim=0))
        return merged

    def _resize(self, sample: SegDataSample) -> None:
        """Resizes the predictions of a merged sample to its `ori_shape`."""
        shape = sample.ori_shape[:2]
        set_prediction(sample, _resize_in_8_bits(sample.seg_logits.data, shape), self._threshold)
        if 'pred_edge_map' in sample:
            edge = _resize_in_8_bits(sample.pred_edge_map.data, shape)
            sample.set_field(PixelData(data=edge), 'pred_edge_map')

    @property
    def _threshold(self) -> float:
        # mmseg's heads of one channel have a threshold; that of two classes is 0.5
        return getattr(getattr(self.module, 'decode_head', None), 'threshold', None) or 0.5


def _resize_in_8_bits(maps: Tensor, shape: tuple[int, int]) -> Tensor:
    """Returns maps [1, h, w] in [0, 1] at `shape` (H, W), resized as 8-bit images.

    The levels are truncated, not rounded, as the released test saves them. The result keeps device
    and dtype; its values are multiples of 1 / 255.
    """
    levels = Image.fromarray((maps[0] * 255).byte().cpu().numpy())
    resized = np.array(levels.resize(shape[::-1], Image.Resampling.BILINEAR))
    return torch.from_numpy(resized)[None].to(maps) / 255


def tta_record(tta_model: Mapping[str, Any], tta_pipeline: Sequence[Mapping]) -> dict[str, Any]:
    """Returns the protocol of a config's test-time augmentation, for results that depend on it.

    Args:
        tta_model: Config of the model; `module` is ignored.
        tta_pipeline: Config of the pipeline.

    Returns:
        'type' and all settings of the model, defaults included; 'passes', their number; 'sizes',
        the (width, height) of each size that an image is resized to, or its shorter side in words.
    """
    parameters = signature(MODELS.get(tta_model['type'])).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    settings = {**defaults, **tta_model}
    for name in ('module', 'data_preprocessor'):
        settings.pop(name, None)
    augmentations = [step for step in tta_pipeline if step['type'] == 'TestTimeAug']
    choices = [choice for step in augmentations for choice in step['transforms']]
    steps = [*tta_pipeline, *(step for choice in choices for step in choice)]
    return {
        'passes': math.prod(map(len, choices)),
        'sizes': [
            list(step['scale']) if 'scale' in step else f'shorter side {step["shorter_side"]}'
            for step in steps
            if 'scale' in step or 'shorter_side' in step
        ],
        **settings,
    }


def describe_tta(record: Mapping[str, Any]) -> str:
    """Returns what `tta_record` returned in words.

    >>> describe_tta(dict(passes=2, sizes=[[64, 64]], min_max=True, scale=None))
    '2 passes at 64x64, each stretched, averaged at the original size'
    """
    sizes = '/'.join(
        size if isinstance(size, str) else f'{size[0]}x{size[1]}' for size in record['sizes']
    )
    stretched = 'each stretched' if record.get('min_max') else 'not stretched'
    scale = record.get('scale')
    place = f'{scale[0]}x{scale[1]} in 8 bits' if scale else 'the original size'
    return f'{record["passes"]} passes at {sizes}, {stretched}, averaged at {place}'
