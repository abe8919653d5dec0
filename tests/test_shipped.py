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
def test_models_for_photographs_find_the_subject(model):
    inferencer = DISInferencer(model, model, 'cpu')
    found = inferencer(PHOTOGRAPHS / 'im' / 'kangaroo_0016.jpg').mask > 0.5
    mask = Image.open(PHOTOGRAPHS / 'gt' / 'kangaroo_0016.png').convert('L')
    subject = np.asarray(mask) > 127
    assert (found & subject).sum() / (found | subject).sum() > 0.7
