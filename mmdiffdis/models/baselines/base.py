"""Base class of the baselines: wraps a network as a segmentor and reads its published weights."""

from abc import abstractmethod
from typing import Any, ClassVar

from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ...checkpoints.published import PublishedNames
from ...structures import set_prediction, stack_truth, to_original_size
from ..data_preprocessor import stretch


class DISBaseline(BaseSegmentor):
    """A network as a segmentor. A subclass builds `network` and gives its outputs a meaning.

    ``loss():    run -> losses``
    ``predict(): run -> probability -> original size``

    Weights are saved under our names. Published weights can be given wherever a checkpoint can
    (`load_from`, tools/test.py, `init_model`): they are renamed by `PUBLISHED` and then loaded as
    strictly as our own.

    Attributes:
        TARGETS: Kinds of ground truth it learns from: 'mask', 'edge'.
        PUBLISHED: Names of the published weights.

    Args:
        network: Network that takes images [B, 3, H, W].
        test_cfg: `min_max`: whether each map is stretched to [0, 1] by its own extremes, as in some
            released tests.
        data_preprocessor: Config of the preprocessor.
        init_cfg: mmengine's initialisation config.
    """

    TARGETS: ClassVar[tuple[str, ...]] = ('mask',)
    PUBLISHED: ClassVar[PublishedNames] = PublishedNames({'': 'network.'})

    def __init__(
        self,
        network: nn.Module,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.network = network
        self.test_cfg = dict(min_max=False) | (test_cfg or {})

    def run(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> Any:
        """Returns the network's outputs, of the kind that `losses` and `probability` take."""
        return self.network(inputs)

    @abstractmethod
    def losses(self, outputs: Any, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns losses to be summed, under names that contain 'loss'.

        Args:
            outputs: Outputs of `run` in training.
            targets: Name -> ground truth, [B, 1, H, W] in [0, 1], for each of `TARGETS`.
        """

    @abstractmethod
    def probability(self, outputs: Any) -> Tensor:
        """Returns the foreground probability, [B, 1, h, w] in [0, 1], of outputs of `run`."""

    def loss(self, inputs: Tensor, data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        """Returns the losses of images [B, 3, H, W].

        Raises:
            ValueError: If a sample lacks ground truth, or has one of another size than the images.
        """
        targets = {name: stack_truth(name, data_samples) for name in self.TARGETS}
        size = tuple(inputs.shape[-2:])
        for name, target in targets.items():
            if target.shape[-2:] != size:
                raise ValueError(
                    f'images of {size} with a ground-truth {name} of {tuple(target.shape[-2:])}: '
                    'expected one size. A preprocessor pads images alone: resize in the pipeline, '
                    'and set data_preprocessor.size_divisor=1, without `size`'
                )
        return self.losses(self.run(inputs, data_samples), targets)

    def predict(
        self, inputs: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Returns masks at the images' original sizes.

        Args:
            inputs: Images, [B, 3, H, W].
            data_samples: Samples with metainfo `ori_shape` and `flip`; None: the inputs' size.

        Returns:
            Samples with `seg_logits` (foreground probability in [0, 1], [1, H, W]) and
            `pred_sem_seg` (0 or 1).
        """
        if data_samples is None:
            shape = dict(ori_shape=tuple(inputs.shape[-2:]))
            data_samples = [SegDataSample(metainfo=shape) for _ in inputs]
        return self.postprocess_result(self.encode_decode(inputs, data_samples), data_samples)

    def postprocess_result(
        self, maps: Tensor, data_samples: list[SegDataSample]
    ) -> list[SegDataSample]:
        """Returns the samples with their probabilities [B, 1, h, w] at the original sizes."""
        for sample, one in zip(data_samples, maps, strict=True):
            one = to_original_size(one, sample.metainfo)
            set_prediction(sample, stretch(one) if self.test_cfg['min_max'] else one)
        return data_samples

    def encode_decode(
        self, inputs: Tensor, batch_data_samples: list[SegDataSample] | None = None
    ) -> Tensor:
        """Returns foreground probabilities at the network's output size, [B, 1, h, w]."""
        return self.probability(self.run(inputs, batch_data_samples))

    def _forward(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> Tensor:
        return self.encode_decode(inputs, data_samples)

    def extract_feat(self, inputs: Tensor) -> Any:
        """Returns the network's outputs."""
        return self.run(inputs)

    def to_published(self) -> dict[str, Tensor]:
        """Returns the weights under their published names and in the published layout."""
        return self.PUBLISHED.to_published(self.state_dict())

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        self.PUBLISHED.rename_in_place(state_dict, prefix, self.state_dict())
        super()._load_from_state_dict(state_dict, prefix, *args)
