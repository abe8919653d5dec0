"""Batch-discriminative embedding (BDE): labels of the mask and edge halves (paper, Sec. 4.2)."""

import torch
from diffusers.models.embeddings import TimestepEmbedding
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

# Rows of a batch of 2B: masks first, then edges.
MASK_LABEL, EDGE_LABEL = (0.0, 1.0), (1.0, 0.0)


@MODELS.register_module()
class BatchDiscriminativeEmbedding(BaseModule):
    """Embedding of the labels of the two halves of a batch, to be added to the time embedding.

    `forward(): label -> [sin, cos] -> linear -> SiLU -> linear`

    Args:
        embed_channels: Width of the time embedding.
        init_cfg: MMEngine's initialisation config.
    """

    def __init__(self, embed_channels: int, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.register_buffer('labels', torch.tensor([MASK_LABEL, EDGE_LABEL]), persistent=False)
        self.projection = TimestepEmbedding(2 * self.labels.shape[1], embed_channels)

    def forward(self, batch_size: int) -> Tensor:
        """Returns the embeddings of B masks, then of B edges, [2B, embed_channels]."""
        encoded = torch.cat([self.labels.sin(), self.labels.cos()], dim=1)  # [2, 4]
        # torch.onnx exports `repeat_interleave` wrongly if the batch size is dynamic
        return self.projection(encoded)[:, None].expand(-1, batch_size, -1).flatten(0, 1)
