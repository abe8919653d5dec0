"""Base class of the baselines: wraps a network as a segmentor and reads its published weights."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ...checkpoints.published import PublishedNames
from ...structures import set_prediction, stack_gt
from ..data_preprocessor import stretch
from ..segmentor import DISSegmentor, unnamed_samples


class DISBaseline(DISSegmentor):
    """A network as a segmentor. A subclass builds `network` and gives its outputs a meaning.

    `loss():    run -> losses`
    `predict(): run -> probability -> original size`

    Weights are saved under our names. Published weights can be given wherever a checkpoint can
    (`load_from`, tools/test.py, `init_model`): they are renamed by `PUBLISHED` and then loaded as
    strictly as our own.

    Attributes:
        TARGETS: Kinds of ground truth it learns from: 'mask', 'edge'.
        PUBLISHED: Names of the published weights.

    Args:
        network: Network that takes images [B, 3, H, W].
        **kwargs: Arguments of `DISSegmentor`. `test_cfg.min_max`: whether each mask is stretched to
            [0, 1] by its own extremes, as in some released tests.
    """

    TARGETS: ClassVar[tuple[str, ...]] = ('mask',)
    PUBLISHED: ClassVar[PublishedNames] = PublishedNames({'': 'network.'})
    TEST_DEFAULTS = dict(min_max=False)

    def __init__(self, network: nn.Module, **kwargs):
        super().__init__(**kwargs)
        self.network = network

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
        targets = {name: stack_gt(name, data_samples) for name in self.TARGETS}
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
        """Returns samples with masks at the images' original sizes.

        Args:
            inputs: Images, [B, 3, H, W].
            data_samples: Samples with `ori_shape` and `flip`; None: masks have the inputs' size.

        Returns:
            Samples as of `postprocess_result`.
        """
        samples = unnamed_samples(inputs) if data_samples is None else data_samples
        return self.postprocess_result([self.encode_decode(inputs, data_samples)], samples)

    def postprocess_result(
        self, maps: Sequence[Tensor], data_samples: list[SegDataSample]
    ) -> list[SegDataSample]:
        """Writes maps to samples, see `DISSegmentor`; `test_cfg.min_max` stretches them at last."""
        super().postprocess_result(maps, data_samples)
        if self.test_cfg['min_max']:
            for sample in data_samples:
                set_prediction(sample, stretch(sample.seg_logits.data), self.threshold)
        return data_samples

    def encode_decode(
        self, inputs: Tensor, batch_data_samples: list[SegDataSample] | None = None
    ) -> Tensor:
        """Returns foreground probabilities at the network's output size, [B, 1, h, w]."""
        return self.probability(self.run(inputs, batch_data_samples))

    def extract_feat(self, inputs: Tensor) -> Any:
        """Returns the network's outputs."""
        return self.run(inputs)

    def cost_parts(self) -> dict[str, list[nn.Module]]:
        """Returns the modules of each part of a prediction, without those for training alone."""
        return {'network': [self.network]}

    def to_published(self) -> dict[str, Tensor]:
        """Returns the weights under their published names and in the published layout."""
        return self.PUBLISHED.to_published(self.state_dict())

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        self.PUBLISHED.rename_in_place(state_dict, prefix, self.state_dict())
        super()._load_from_state_dict(state_dict, prefix, *args)
