"""Training in the channels-last memory format."""

import types

import torch
from torch import nn

from mmdiffdis.engine import ChannelsLastHook


def test_weights_and_feature_maps_are_channels_last_and_results_equal():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    images = torch.randn(2, 3, 10, 12)
    expected = model(images)
    ChannelsLastHook().before_train(types.SimpleNamespace(model=model))
    result = model(images)
    assert result.is_contiguous(memory_format=torch.channels_last) and not result.is_contiguous()
    torch.testing.assert_close(result, expected)
