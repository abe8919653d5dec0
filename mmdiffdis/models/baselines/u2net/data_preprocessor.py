"""Preprocessing of U2-Net, in which each image is divided by its largest value."""

from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS


@MODELS.register_module()
class U2NetDataPreProcessor(SegDataPreProcessor):
    """mmseg's preprocessor for images that are scaled so that their largest value is 255.

    Source: `ToTensorLab` of the release's data_loader.py.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Returns a batch.

        Args:
            data: 'inputs': B uint8 images [3, H, W], or a tensor of them; 'data_samples': their
                samples, optional.
            training: Whether padding options for training apply.
        """
        images = [image.float() for image in self.cast_data(data)['inputs']]
        # A black image stays black.
        scaled = [image * (255 / image.max().clamp(min=1)) for image in images]
        return super().forward({**data, 'inputs': scaled}, training)
