"""Segmentor of BEN2, by its differences from MVANet."""

from typing import Any, ClassVar

from mmseg.registry import MODELS
from torch import nn

from ....checkpoints.published import PublishedNames
from ..mvanet import MVANet

_LOCALISATION = 'multifieldcrossatt.'
# MVANet's names of the overview's feed-forward network -> BEN2's
_RENAMED = {
    f'{_LOCALISATION}linear5.': f'{_LOCALISATION}linear1.',
    f'{_LOCALISATION}linear6.': f'{_LOCALISATION}linear2.',
}


@MODELS.register_module()
class BEN2(MVANet):
    """BEN2_Base: an MVANet with instance norm, without weights, and GELU.

    Its training is not published; losses and arguments are MVANet's.
    """

    LAYERS: ClassVar[dict[str, Any]] = dict(norm=nn.InstanceNorm2d, act=nn.GELU, token_act=nn.GELU)
    PUBLISHED: ClassVar[PublishedNames] = PublishedNames(
        {_RENAMED.get(name, name): ours for name, ours in MVANet.PUBLISHED.patterns.items()},
        layout=MVANet.PUBLISHED.layout,
    )
