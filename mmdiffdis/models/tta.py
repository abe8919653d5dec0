"""Test-time augmentation that is right for one-channel segmentors as well."""

import torch
from mmengine.model.test_time_aug import EnhancedBatchDataSamples
from mmengine.structures import PixelData
from mmseg.models import SegTTAModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import SampleList

from mmdiffdis.structures import foreground_probability

from .data_preprocessor import stretch


@MODELS.register_module()
class DISTTAModel(SegTTAModel):
    """Mean foreground probability over the passes of a ``TestTimeAug`` pipeline, for any segmentor.

    mmseg's own merge applies the sigmoid a second time to one-channel predictions, which makes
    every pixel foreground. Flipping back and resizing to the original size is the segmentor's
    ``predict``'s part.

    Args:
        module: the segmentor (config or module).
        data_preprocessor: of ``BaseTTAModel``.
        min_max: whether each pass is stretched to [0, 1] first, as in the released DiffDIS test.
    """

    def __init__(self, module, data_preprocessor=None, min_max: bool = False) -> None:
        super().__init__(module, data_preprocessor)
        self.min_max = min_max

    def merge_preds(self, data_samples_list: EnhancedBatchDataSamples) -> SampleList:
        """One sample per image: ``seg_logits`` [1, H, W] = mean probability, ``pred_sem_seg``,
        ``pred_edge_map`` (mean) if every pass has one, and truth and meta information of the first
        pass.

        Args:
            data_samples_list: per image, the samples of its passes.
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
        merged.seg_logits = PixelData(data=probability)
        merged.pred_sem_seg = PixelData(data=(probability > self._threshold).byte())
        if all('pred_edge_map' in sample for sample in passes):
            edges = torch.stack([sample.pred_edge_map.data for sample in passes])
            merged.pred_edge_map = PixelData(data=edges.mean(dim=0))
        return merged

    @property
    def _threshold(self) -> float:
        # mmseg's heads have one if they are of one channel; two classes are told apart at 0.5
        return getattr(getattr(self.module, 'decode_head', None), 'threshold', None) or 0.5
