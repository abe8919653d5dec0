"""What all baselines share: from a network to a segmentor, and from its published checkpoint."""

import re
from abc import abstractmethod
from typing import Any, ClassVar

from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ...checkpoints.published import PublishedNames
from ...structures import set_prediction, stack_gt, to_original_size
from ..data_preprocessor import stretch

# What wrappers of PyTorch put before the names of weights, should the file have kept it.
_WRAPPERS = re.compile(r'^(module\.|_orig_mod\.)+')


class DISBaseline(BaseSegmentor):
    """A network as a segmentor. A subclass builds `network` and says what its outputs mean.

    ``loss():    run -> losses``
    ``predict(): run -> probability -> original size``

    Its weights are saved under our names. Published ones may be given wherever a checkpoint may
    (`load_from`, tools/test.py, `init_model`): they are renamed as `PUBLISHED_PREFIXES` says, and
    must then fit like our own.

    Attributes:
        TRUTHS: what it learns from: 'mask', 'edge'.
        PUBLISHED_PREFIXES: beginnings of published names -> of ours, see `PublishedNames`.
        PUBLISHED_UNUSED: beginnings of published names that no forward pass uses; left out.
        TRAINING_ONLY: beginnings of our names that published checkpoints do not have, since only
            training needs them; they keep their values.

    Args:
        network: what makes outputs of images [B, 3, H, W].
        test_cfg: `min_max`: stretch each map to [0, 1] by its own extremes, as some released tests
            do.
        data_preprocessor: config of the preprocessor.
        init_cfg: mmengine's initialisation config.
    """

    TRUTHS: ClassVar[tuple[str, ...]] = ('mask',)
    PUBLISHED_PREFIXES: ClassVar[dict[str, str]] = {'': 'network.'}
    PUBLISHED_UNUSED: ClassVar[tuple[str, ...]] = ()
    TRAINING_ONLY: ClassVar[tuple[str, ...]] = ()

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
        """The network's outputs, of whatever kind `losses` and `probability` take."""
        return self.network(inputs)

    @abstractmethod
    def losses(self, outputs: Any, truths: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses to be summed, of names that contain 'loss'.

        Args:
            outputs: of :meth:`run` in training.
            truths: name -> [B, 1, H, W] in [0, 1], for each of `TRUTHS`.
        """

    @abstractmethod
    def probability(self, outputs: Any) -> Tensor:
        """Foreground probability of :meth:`run`'s outputs, [B, 1, h, w] in [0, 1]."""

    def loss(self, inputs: Tensor, data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        """Losses of images [B, 3, H, W].

        Raises:
            ValueError: a sample lacks a truth, or has one of another size than the images.
        """
        truths = {name: stack_gt(name, data_samples) for name in self.TRUTHS}
        size = tuple(inputs.shape[-2:])
        for name, truth in truths.items():
            if truth.shape[-2:] != size:
                raise ValueError(
                    f'images of {size} with a true {name} of {tuple(truth.shape[-2:])}: expected '
                    'one size. A preprocessor that pads does not pad the truths: let the pipeline '
                    'resize to what is wanted, and set data_preprocessor.size_divisor=1, without '
                    '`size`'
                )
        return self.losses(self.run(inputs, data_samples), truths)

    def predict(
        self, inputs: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Masks at the images' original sizes.

        Args:
            inputs: images, [B, 3, H, W].
            data_samples: whose metainfo says `ori_shape` and `flip`; None: the inputs' size.

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
        """The samples with their probabilities [B, 1, h, w] at the original sizes."""
        for sample, one in zip(data_samples, maps, strict=True):
            one = to_original_size(one, sample.metainfo)
            set_prediction(sample, stretch(one) if self.test_cfg['min_max'] else one)
        return data_samples

    def encode_decode(
        self, inputs: Tensor, batch_data_samples: list[SegDataSample] | None = None
    ) -> Tensor:
        """Foreground probabilities at the network's output size, [B, 1, h, w]."""
        return self.probability(self.run(inputs, batch_data_samples))

    def _forward(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> Tensor:
        return self.encode_decode(inputs, data_samples)

    def extract_feat(self, inputs: Tensor) -> Any:
        """The network's outputs."""
        return self.run(inputs)

    def from_published(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Published weights under our names; where layouts differ, a subclass changes them here."""
        return PublishedNames(self.PUBLISHED_PREFIXES).to_ours(weights)

    def to_published(self) -> dict[str, Tensor]:
        """Our weights under their published names: the inverse of :meth:`from_published`."""
        names = PublishedNames(self.PUBLISHED_PREFIXES, training_only=self.TRAINING_ONLY)
        return names.to_published(self.state_dict())

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        """Renames published weights in place before they are compared with ours."""
        ours = self.state_dict()
        names = [name.removeprefix(prefix) for name in state_dict if name.startswith(prefix)]
        if ours.keys().isdisjoint(names):
            given = {_WRAPPERS.sub('', name): state_dict.pop(prefix + name) for name in names}
            used = {k: v for k, v in given.items() if not k.startswith(self.PUBLISHED_UNUSED)}
            kept = {k: v for k, v in ours.items() if k.startswith(self.TRAINING_ONLY)}
            weights = kept | self.from_published(used)
            state_dict.update({prefix + name: tensor for name, tensor in weights.items()})
        super()._load_from_state_dict(state_dict, prefix, *args)
