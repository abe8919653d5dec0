"""BEN2: the numbers of the released implementation, and its differences from MVANet."""

import pytest
import torch
from baseline_tester import BaselineTester, build
from conftest import ROOT
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.runner import load_checkpoint
from PIL import Image

from mmdiffdis.apis.configs import without_loading
from mmdiffdis.checkpoints import CheckpointError, explain_misfits

SMALL = 'ben2/ben2_small_1xb16-1k2_synthetic-dis-128x128'


@pytest.mark.slow  # of full size
class TestBEN2(BaselineTester):
    NAME = 'ben2_base'
    CONFIG = 'ben2/ben2_swin-b_1xb1-80e_dis5k-1024x1024'
    TOLERANCE = 5e-5  # two back ends of convolutions differ by 2e-5
    GRADIENTS = None  # the release has no training

    def maps(self, released):
        outputs = released.outputs
        return {'logits': outputs.logits, 'mask': released.model.probability(outputs)}

    def losses(self, released):
        return {}


@pytest.fixture(scope='module')
def small():
    return build(SMALL)


def test_published_file_has_its_weights_under_model_state_dict(small, tmp_path):
    torch.save(dict(model_state_dict=small.to_published()), tmp_path / 'BEN2_Base.pth')
    other = build(SMALL, seed=1)
    load_checkpoint(other, str(tmp_path / 'BEN2_Base.pth'), strict=True)
    for name, tensor in small.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


def test_weights_of_mvanet_are_refused(small, tmp_path):
    mvanet = build(SMALL.replace('ben2', 'mvanet'))
    path = tmp_path / 'Model_80.pth'
    torch.save(mvanet.to_published(), path)
    with pytest.raises(CheckpointError, match='laterals.0.1.running_mean'), explain_misfits(path):
        load_checkpoint(small, str(path), strict=True)


def test_normalisation_has_no_weights_and_activations_are_smooth(small):
    types = {type(module) for module in small.network.modules()}
    assert torch.nn.InstanceNorm2d in types and torch.nn.GELU in types
    assert not types & {torch.nn.BatchNorm2d, torch.nn.PReLU, torch.nn.ReLU}
    assert not any('running' in name for name in small.state_dict())


def test_images_are_resized_by_lanczos():
    config = Config.fromfile(ROOT / 'configs' / f'{TestBEN2.CONFIG}.py')
    image = torch.randint(256, (300, 200, 3), dtype=torch.uint8).numpy()
    steps = Compose(without_loading(config.test_dataloader.dataset.pipeline))
    results = steps(dict(img=image, img_shape=image.shape[:2], seg_fields=[]))
    expected = Image.fromarray(image).resize((1024, 1024), Image.Resampling.LANCZOS)
    pixels = results['inputs'].permute(1, 2, 0).numpy()
    assert pixels.tobytes() == expected.tobytes()
