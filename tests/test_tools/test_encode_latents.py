"""tools/dataset_converters/encode_latents.py and LatentDataset: latents instead of images."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import load_tool, tiny_config, training_config
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.runner import Runner, load_checkpoint
from mmseg.registry import DATASETS, MODELS
from safetensors.torch import load_file, save_file
from torch.utils.data import ConcatDataset

from mmdiffdis.apis.configs import load_config
from mmdiffdis.checkpoints import CheckpointError
from mmdiffdis.datasets.latents import LatentDataset
from mmdiffdis.engine import LatentsHook

tool = load_tool('dataset_converters/encode_latents.py')


@pytest.fixture
def config(tmp_path, monkeypatch, write_set):
    """Writes a config of three pairs in the current folder and returns its path."""
    write_set(tmp_path / 'set', 'DIS-TR', stems=('a', 'b', 'c'))
    monkeypatch.chdir(tmp_path)

    def write(flip: float = 0.0, **changes) -> Path:
        torch.manual_seed(0)
        torch.save(dict(state_dict=MODELS.build(tiny_config(**changes)).state_dict()), 'start.pth')
        init_cfg = dict(type='Pretrained', checkpoint='start.pth')
        path = tmp_path / 'images.py'
        model = tiny_config(init_cfg=init_cfg, **changes)
        path.write_text(training_config(model, max_iters=2, flip=flip))
        return path

    return write


def losses(model, batch) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    data = model.data_preprocessor(batch, training=True)
    return model(**data, mode='loss')


@pytest.mark.parametrize('edge', [True, False])
def test_losses_of_latents_are_those_of_images(config, edge):
    # v, because an error in epsilon is multiplied by 14.6, and latents are rounded to float16
    scheduler = dict(prediction_type='v_prediction')
    path = config(edge=edge, data_preprocessor=dict(cutmix=None), scheduler=scheduler)
    tool.main([str(path), '--out', 'out/latents.safetensors', '--workers', '0'])
    settings = Config.fromfile(path)
    model = MODELS.build(settings.model)
    model.init_weights()
    model.noise = torch.zeros_like  # random noise would follow the memory layout
    images = DATASETS.build(settings.train_dataloader.dataset)
    latents = DATASETS.build(dict(type='LatentDataset', latent_file='out/latents.safetensors'))
    assert len(latents) == len(images) == 3
    expected, found = (
        losses(model, pseudo_collate([data[0], data[2]])) for data in (images, latents)
    )
    assert set(found) == ({'loss_mask', 'loss_edge'} if edge else {'loss_mask'})
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=0.02, atol=0)


def test_losses_of_pixels_are_those_of_images(config):
    """Images and ground truth travel with the latents for a head that needs them."""
    head = dict(type='MaskDecoder', channels=8, num_blocks=(1, 1, 1, 0))
    changes = dict(data_preprocessor=dict(cutmix=None), decode_head=head)
    path = config(**changes, scheduler=dict(prediction_type='v_prediction'))
    tool.main([str(path), '--out', 'latents.safetensors', '--workers', '0'])
    settings = Config.fromfile(path)
    model = MODELS.build(settings.model)
    model.init_weights()
    model.noise = torch.zeros_like
    torch.nn.init.normal_(model.decode_head.skips.out_half.weight)  # so that images count
    datasets = (
        DATASETS.build(settings.train_dataloader.dataset),
        LatentDataset('latents.safetensors'),
    )
    expected, found = (losses(model, pseudo_collate([data[0], data[2]])) for data in datasets)
    assert set(found) == {'loss_mask', 'loss_edge', 'loss_mask_pixels', 'loss_edge_pixels'}
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=0.02, atol=0)


def standard_deviation(path: str) -> float:
    return float(load_file(path)['mask'].float().std())


@pytest.mark.slow
def test_weights_are_those_that_the_training_begins_with(config):
    """`load_from` as well, which comes after the model's own init_cfg."""
    path = config()
    torch.manual_seed(1)
    torch.save(dict(state_dict=MODELS.build(tiny_config()).state_dict()), 'other.pth')
    for name, load_from in (('init', None), ('loaded', 'other.pth')):
        (path.parent / f'{name}.py').write_text(
            f"_base_ = './images.py'\nload_from = {load_from!r}\n"
        )
        tool.main([f'{name}.py', '--out', f'{name}.safetensors', '--workers', '0'])
    assert standard_deviation('init.safetensors') != standard_deviation('loaded.safetensors')

    def train_with(latents, config_name):
        config = load_config(path.parent / f'{config_name}.py')
        model = MODELS.build(config.model)
        model.init_weights()
        if config.load_from:
            load_checkpoint(model, config.load_from, strict=True)
        dataset = ConcatDataset([LatentDataset(f'{latents}.safetensors')])
        runner = SimpleNamespace(model=model, train_dataloader=SimpleNamespace(dataset=dataset))
        LatentsHook().before_train(runner)

    for name in ('init', 'loaded'):
        train_with(name, name)
    for names in (('init', 'loaded'), ('loaded', 'init')):
        with pytest.raises(CheckpointError, match=r'was encoded by another autoencoder \(hash'):
            train_with(*names)


def test_weights_that_do_not_fit_are_refused(config, capsys):
    path = config()
    options = ['--cfg-options', 'load_from=mmdiffdis://diffdis_tiny']
    with pytest.raises(SystemExit, match='diffdis_tiny does not fit the model of the config'):
        tool.main([str(path), '--out', 'x.safetensors', '--workers', '0', *options])
    assert not Path('x.safetensors').exists()


@pytest.mark.slow
def test_passes_differ_and_repeat_with_the_seed(config, capsys):
    path = config(flip=0.5)
    for name in ('one', 'two'):
        tool.main([str(path), '--out', f'{name}.safetensors', '--passes', '4', '--workers', '0'])
    assert '12 pairs of image and ground truth in one.safetensors' in capsys.readouterr().out
    one, two = load_file('one.safetensors'), load_file('two.safetensors')
    assert set(one) == {'image_0', 'image_1', 'image_2', 'image_3', 'mask', 'edge'}
    assert all(torch.equal(one[name], two[name]) for name in one)
    views = one['image_0'].view(4, 3, -1).float()
    assert any(not torch.equal(views[0], view) for view in views[1:])


@pytest.mark.slow
def test_training_on_latents(config):
    path = config(data_preprocessor=dict(cutmix=None))
    tool.main([str(path), '--out', 'latents.safetensors', '--workers', '0'])
    (path.parent / 'latents.py').write_text(
        "_base_ = './images.py'\n"
        'train_dataloader = dict(dataset=dict(\n'
        "    _delete_=True, type='LatentDataset', latent_file='latents.safetensors'))\n"
    )
    settings = load_config(path.parent / 'latents.py')
    settings.optim_wrapper.type = 'BFloat16OptimWrapper'  # as --amp; autocast ignores float16
    settings.experiment_name = 'training_on_latents'  # MMEngine keeps runners by their names
    Runner.from_cfg(settings).train()
    assert Path('work_dirs/latents/iter_2.pth').is_file()


def test_files_damaged_in_their_middle_are_left_out_and_listed(config, capsys):
    path = config()
    mask = Path('set/DIS-TR/gt/b.png')
    content = bytearray(mask.read_bytes())
    content[len(content) // 2] ^= 255
    mask.write_bytes(content)
    arguments = [str(path), '--out', 'latents.safetensors', '--workers', '0', '--passes', '2']
    assert tool.main(arguments) == 1
    assert len(load_file('latents.safetensors')['mask']) == 4
    printed = capsys.readouterr()
    assert '4 pairs of image and ground truth' in printed.out
    (line,) = (line for line in printed.err.splitlines() if line.startswith('left out: '))
    assert 'gt/b.png' in line
    for damaged in Path('set/DIS-TR/gt').iterdir():
        damaged.write_bytes(content)
    with pytest.raises(SystemExit, match=r'error: no image could be read: .*gt/'):
        tool.main([str(path), '--out', 'none.safetensors', '--workers', '0'])
    assert not Path('none.safetensors').exists()


def test_latents_are_never_mixed(config, tiny):
    tool.main([str(config()), '--out', 'latents.safetensors', '--workers', '0'])
    latents = DATASETS.build(dict(type='LatentDataset', latent_file='latents.safetensors'))
    with pytest.raises(ValueError, match='expected model.data_preprocessor.cutmix=None'):
        losses(tiny(), pseudo_collate([latents[0]]))


def test_parameters_are_not_listed(config, capfd):
    MMLogger._instance_dict.clear()  # as in a new process
    tool.main([str(config()), '--out', 'latents.safetensors', '--workers', '0'])
    shown = capfd.readouterr()
    assert 'latents.safetensors' in shown.out and 'conv_in' not in shown.out + shown.err


def test_errors_name_the_file_and_the_tool(tmp_path):
    path = tmp_path / 'latents.safetensors'
    build = dict(type='LatentDataset', latent_file=str(path))
    with pytest.raises(FileNotFoundError, match='no file .*latents.safetensors; write it with'):
        DATASETS.build(build)
    path.write_bytes(b'not a file of tensors')
    with pytest.raises(ValueError, match='no whole safetensors file .*encode_latents.py'):
        DATASETS.build(build)
    save_file({'weight': torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"has no \['image_0', 'mask'\]"):
        DATASETS.build(build)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--out', 'x.safetensors', '--passes', '0'], '--passes 0: expected at least 1'),
        (['--out', 'x.safetensors', '--batch-size', '0'], '--batch-size 0: expected at least 1'),
        (['--out', 'x.safetensors', '--workers', '-1'], '--workers -1: expected 0 or more'),
        (['--out', 'x.pt'], '--out x.pt: expected a name that ends in .safetensors'),
    ],
)
def test_invalid_options(capsys, arguments, message):
    with pytest.raises(SystemExit, match='2'):
        tool.main(['config.py', *arguments])
    assert f'error: {message}' in capsys.readouterr().err


def test_target_is_tried_before_anything_is_encoded(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(SystemExit, match='choose another --out'):
        tool.main(['nowhere.py', '--out', str(tmp_path / 'file' / 'x.safetensors')])
