"""Nodes of ComfyUI: copy or link this folder into `custom_nodes/`; docs/deployment.md says how."""

from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch

from mmdiffdis.apis import DISInferencer
from mmdiffdis.utils.shipped import CONFIGS, shipped_models

OTHER = 'other: config and checkpoint'


class MMDiffDISSegment:
    """Segments the foreground object of each image of a batch."""

    CATEGORY = 'mask'
    FUNCTION = 'segment'
    RETURN_TYPES = ('MASK', 'IMAGE')
    RETURN_NAMES = ('mask', 'cutout')
    DESCRIPTION: ClassVar[str] = (
        'The mask is 1 in the foreground. The cut-out is RGBA, without the background. Config: its '
        'name in configs/. Checkpoint: file or URL; without a config: a folder or repository that '
        'save_pretrained or push_to_hub wrote.'
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        """Returns the inputs: images, a model of the package, or names of another."""
        text = ('STRING', {'default': ''})
        return {
            'required': {'image': ('IMAGE',), 'model': ([*shipped_models(), OTHER],)},
            'optional': {'config': text, 'checkpoint': text},
        }

    def segment(
        self, image: torch.Tensor, model: str, config: str = '', checkpoint: str = ''
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns masks [B, H, W] and RGBA cut-outs [B, H, W, 4], float32 in [0, 1].

        Args:
            image: [B, H, W, 3] or [B, H, W, 4] in [0, 1].
            model: Name of a model that comes with the package, or `OTHER`.
            config: Name of a config in `configs/`.
            checkpoint: Its weights; without a config, a folder or the id of a repository.

        Raises:
            ValueError: If the names of another model are missing or have no effect, or the config
                is a file, which would be run.
        """
        inferencer = _load(*_names(model, config.strip(), checkpoint.strip()))
        arrays = (image.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        results = [inferencer(array) for array in arrays]
        masks = np.stack([result.mask for result in results])
        cutouts = np.stack([result.cutout() for result in results])
        return torch.from_numpy(masks), torch.from_numpy(cutouts).float() / 255


def _names(model: str, config: str, checkpoint: str) -> tuple[str, str]:
    """Returns config and checkpoint, the former empty for a folder or repository."""
    if model != OTHER:
        if config or checkpoint:
            raise ValueError(f"model={model!r} has its own config and checkpoint: choose '{OTHER}'")
        return model, model
    if not checkpoint:
        raise ValueError(f"model='{OTHER}': expected a checkpoint, or choose another model")
    # who sends a workflow to a server must not be able to run a file there
    if config and not any(path.stem == config for path in CONFIGS.rglob('*.py')):
        raise ValueError(
            f'config={config!r}: expected the name of a config in configs/; a config file is a '
            'program: make a folder of it and its weights by DISInferencer.save_pretrained, and '
            'give that as the checkpoint'
        )
    return config, checkpoint


@lru_cache(maxsize=1)  # one model on the GPU
def _load(config: str, checkpoint: str) -> DISInferencer:
    if config:
        return DISInferencer(config, checkpoint)
    return DISInferencer.from_pretrained(checkpoint)


NODE_CLASS_MAPPINGS = {'MMDiffDISSegment': MMDiffDISSegment}
NODE_DISPLAY_NAME_MAPPINGS = {'MMDiffDISSegment': 'Segment foreground (mmdiffdis)'}
