"""Repositories of the hub: round trips, what is refused, and the hub's protocol on loopback."""

import json
import sys

import numpy as np
import pytest
from conftest import load_tool
from hub_server import serve_hub
from huggingface_hub import ModelCard, constants
from mmengine.config import Config

from mmdiffdis.apis import DISInferencer


@pytest.fixture
def image(draw_pair):
    return draw_pair()[0]


@pytest.fixture
def inferencer(stock_config, stock_checkpoint):
    """A small stock segmentor."""
    config = stock_config()
    return DISInferencer(config, stock_checkpoint(config), device='cpu')


@pytest.fixture
def saved(inferencer, tmp_path):
    """Its folder."""
    return inferencer.save_pretrained(tmp_path / 'saved')


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('u2netp', {}),
        pytest.param('diffdis_small', {}, marks=pytest.mark.slow),
        ('diffdis_tiny', {'seed': 5}),
    ],
)
def test_masks_of_a_folder_are_the_same(name, options, tmp_path, image):
    inferencer = DISInferencer(name, name, 'cpu', **options)
    folder = inferencer.save_pretrained(tmp_path / 'a' / name, license='apache-2.0')
    assert {path.name for path in folder.iterdir()} == {
        'README.md',
        'config.json',
        'model.safetensors',
    }
    mask = DISInferencer.from_pretrained(folder, device='cpu')(image).mask
    np.testing.assert_array_equal(mask, inferencer(image).mask)
    assert mask.std() > 0
    card = ModelCard.load(folder / 'README.md')
    assert card.data.license == 'apache-2.0' and card.data.library_name == 'mmdiffdis'
    assert f"from_pretrained('{name}')" in card.text and 'https://arxiv.org/abs/' in card.text


def test_options_reach_the_inferencer_of_a_folder(inferencer, saved):
    assert inferencer.model.test_cfg.seed == 7
    again = DISInferencer.from_pretrained(str(saved), device='cpu', seed=3, edge=True)
    assert again.edge and again.model.test_cfg.seed == 3 and again.model.test_cfg.edge


def test_files_are_read_by_the_tools_as_well(inferencer, saved, image):
    files = str(saved / 'config.json'), saved / 'model.safetensors'
    mask = DISInferencer(*files, device='cpu')(image).mask
    np.testing.assert_array_equal(mask, inferencer(image).mask)


def test_folders_of_the_machine_are_not_published(inferencer, saved, tmp_path):
    assert str(tmp_path) in inferencer.config.pretty_text
    for name in ('config.json', 'README.md'):
        assert str(tmp_path) not in (saved / name).read_text()


def test_card_has_scores_with_their_protocol(
    inferencer, stock_config, stock_checkpoint, tmp_path, monkeypatch
):
    monkeypatch.setenv('LOCAL_RANK', '0')
    config, scores = stock_config(), tmp_path / 'scores.json'
    files = [str(config), str(stock_checkpoint(config))]
    load_tool('test.py').main([*files, '--out', str(scores), '--work-dir', str(tmp_path / 'w')])
    text = (inferencer.save_pretrained(tmp_path / 'x', scores=scores) / 'README.md').read_text()
    metrics = json.loads(scores.read_text())['metrics']
    assert all(f'| {name} | {score:.4f} |' in text for name, score in metrics.items())
    assert "3 images, one pass, seed 7; protocol 'soft' (quantise=True" in text
    scores.write_text('{"models": {}}')
    with pytest.raises(ValueError, match='expected a file that test.py --out wrote'):
        inferencer.save_pretrained(tmp_path / 'y', scores=scores)
    assert not (tmp_path / 'y').exists()


def test_files_are_not_replaced(inferencer, saved):
    with pytest.raises(FileExistsError, match='choose another folder, or remove it'):
        inferencer.save_pretrained(saved)


@pytest.mark.parametrize(
    ('part', 'key', 'value'),
    [
        ('model', 'type', 'subprocess.run'),
        ('model', 'type', 'antigravity'),
        ('model', '_scope_', 'somebody'),
        ('head', 'type', 'os.system'),
        ('head', 'norm_cfg', {'type': 'mmseg.models.nowhere'}),
        ('head', 'loss_decode', {'type': 'CrossEntropyLoss', 'class_weight': 'http://a/b.pkl'}),
        ('head', 'loss_decode', [{'type': 'CrossEntropyLoss', 'class_weight': 'b.pkl'}]),
        ('step', 'type', 'builtins.exec'),
        ('step', 'transforms', [[{'type': 'os.system'}]]),
        ('step', 'type', ['DISResize']),
        ('config', 'default_scope', 'somebody'),
    ],
)
def test_a_config_that_would_run_code_is_refused(saved, monkeypatch, part, key, value):
    content = json.loads((saved / 'config.json').read_text())
    parts = {
        'config': content,
        'model': content['model'],
        'head': content['model']['decode_head'],
        'step': content['test_pipeline'][0],
    }
    parts[part][key] = value
    (saved / 'config.json').write_text(json.dumps(content))
    monkeypatch.setattr('mmengine.registry.registry.import_module', None)
    monkeypatch.setattr('mmengine.registry.registry.get_object_from_string', None)
    with pytest.raises(ValueError, match=r"expected (a registered name|a word|'mmseg')"):
        DISInferencer.from_pretrained(saved, device='cpu')


def test_imports_and_bases_of_a_config_are_not_followed(saved, tmp_path, monkeypatch):
    (tmp_path / 'harmful.py').write_text("raise SystemExit('it was run')")
    monkeypatch.syspath_prepend(tmp_path)
    content = json.loads((saved / 'config.json').read_text())
    content |= {'custom_imports': {'imports': ['harmful']}, '_base_': str(tmp_path / 'harmful.py')}
    (saved / 'config.json').write_text(json.dumps(content))
    DISInferencer.from_pretrained(saved, device='cpu')
    assert 'harmful' not in sys.modules


def test_a_part_that_could_not_be_loaded_is_not_saved(stock_config, stock_checkpoint, tmp_path):
    config = Config.fromfile(stock_config())
    config.model.type = 'mmseg.models.EncoderDecoder'
    inferencer = DISInferencer(config, stock_checkpoint(stock_config()), device='cpu')
    with pytest.raises(ValueError, match="type='mmseg.models.EncoderDecoder': expected a reg"):
        inferencer.save_pretrained(tmp_path / 'x')


def test_other_folders_are_refused(saved, tmp_path):
    with pytest.raises(ValueError, match="revision='v1': .* is a folder, which has none"):
        DISInferencer.from_pretrained(saved, revision='v1')
    (saved / 'config.json').write_text('{"architectures": ["BertModel"]}')
    with pytest.raises(ValueError, match='no config of mmdiffdis: expected a model'):
        DISInferencer.from_pretrained(saved)
    (saved / 'config.json').rename(saved / 'config.py')
    with pytest.raises(FileNotFoundError, match='no config.json: .* Python, which are programs'):
        DISInferencer.from_pretrained(saved)


class TestHub:
    """With huggingface_hub's own client, and a server that speaks its protocol."""

    @pytest.fixture
    def hub(self, monkeypatch, tmp_path):
        with serve_hub() as server:
            template = constants.HUGGINGFACE_CO_URL_TEMPLATE
            template = template.replace(constants.ENDPOINT, server.url)
            monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
            monkeypatch.setattr(constants, 'ENDPOINT', server.url)
            monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
            monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
            monkeypatch.setenv('HF_TOKEN', 'hf_nobody')
            yield server

    def test_masks_of_a_repository_are_the_same(self, hub, inferencer, image):
        url = inferencer.push_to_hub('somebody/some-model', license='mit')
        assert url.startswith(f'{hub.url}/somebody/some-model/commit/')
        files = hub.repositories['somebody/some-model']
        assert {'README.md', 'config.json', 'model.safetensors'} <= files.keys()
        assert b"from_pretrained('somebody/some-model')" in files['README.md']
        files['config.py'] = b"raise SystemExit('it was run')"
        again = DISInferencer.from_pretrained('somebody/some-model', device='cpu')
        assert sorted(hub.downloads) == ['config.json', 'model.safetensors']
        np.testing.assert_array_equal(again(image).mask, inferencer(image).mask)

    @pytest.mark.parametrize('name', ['somebody/other', 'no/such/folder', 'masks'])
    def test_a_name_that_is_neither_is_named(self, hub, name):
        with pytest.raises(FileNotFoundError, match=f"'{name}' is neither a folder nor a repos"):
            DISInferencer.from_pretrained(name)
