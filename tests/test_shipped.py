"""The models that come with the package."""

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from mmdiffdis.apis import DISInferencer
from mmdiffdis.utils.shipped import SHIPPED_WEIGHTS, shipped_models

PHOTOGRAPHS = ROOT / 'tools' / 'demo_photographs'


def test_notice_names_all_weights():
    notice = (SHIPPED_WEIGHTS / 'NOTICE.md').read_text(encoding='utf-8')
    weights = {path.name for path in SHIPPED_WEIGHTS.glob('*.safetensors')}
    assert weights >= {f'{name}.safetensors' for name in shipped_models()}
    assert all(f'`{name}`' in notice or f'## {name}\n' in notice for name in weights)


@pytest.mark.parametrize('model', ['u2netp', 'diffdis_small'])
def test_models_for_photographs_find_their_subjects(model):
    inferencer = DISInferencer(model, model, 'cpu')
    for stem in ('ceiling_fan_0019', 'inline_skate_0015', 'kangaroo_0016'):
        found = inferencer(PHOTOGRAPHS / 'im' / f'{stem}.jpg').mask > 0.5
        subject = np.asarray(Image.open(PHOTOGRAPHS / 'gt' / f'{stem}.png').convert('L')) > 127
        overlap = (found & subject).sum() / (found | subject).sum()
        assert overlap > 0.7, stem
