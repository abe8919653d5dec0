"""Batch-discriminative embedding: which half of a batch is mask, which edge (paper, Sec. 4.2)."""

import torch
from diffusers.models.embeddings import TimestepEmbedding
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

# One label a row: masks first, edges second, as everywhere in a batch of 2B.
MASK_LABEL, EDGE_LABEL = (0.0, 1.0), (1.0, 0.0)


@MODELS.register_module()
class BatchDiscriminativeEmbedding(BaseModule):
    """Embeds the labels of the two halves of a batch at the width of the time embedding.

    ``forward(): label -> [sin, cos] -> linear -> SiLU -> linear``

    Args:
        embed_channels: width C of the time embedding that the result is added to.
        init_cfg: mmengine's initialisation config.
    """

    def __init__(self, embed_channels: int, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.register_buffer('labels', torch.tensor([MASK_LABEL, EDGE_LABEL]), persistent=False)
        self.projection = TimestepEmbedding(2 * self.labels.shape[1], embed_channels)

    def forward(self, batch_size: int) -> Tensor:
        """The embeddings of B masks, then of B edges.

        Args:
            batch_size: B, the number of images.

        Returns:
            [2B, C]
        """
        encoded = torch.cat([self.labels.sin(), self.labels.cos()], dim=1)  # [2, 4]
        return self.projection(encoded).repeat_interleave(batch_size, dim=0)
