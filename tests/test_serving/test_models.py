"""Models of a server or page, and what they accept."""

import pytest

from mmdiffdis.serving.models import load_models


def test_models_have_the_names_of_their_configs():
    models = load_models(['u2netp', 'diffdis_tiny:mmdiffdis://diffdis_tiny'], 'cpu', 'float32')
    assert list(models) == ['u2netp', 'diffdis_tiny']


@pytest.mark.parametrize(
    ('models', 'words'),
    [(['u2netp', 'u2netp'], "a model 'u2netp' already"), (['a.py'], 'expected CONFIG:CKPT')],
)
def test_refuses(models, words):
    with pytest.raises(ValueError, match=words):
        load_models(models, 'cpu', 'float32')
