"""Prediction with small stock segmentors and a tiny diffusion model."""

import copy
import io
import itertools
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import skimage
import torch
from conftest import ROOT, tiny_config
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from packaging.version import Version
from PIL import Image

from mmdiffdis.apis import DISInferencer, decoding, inference
from mmdiffdis.apis.inference import choose_device
from mmdiffdis.apis.precision import PRECISIONS
from mmdiffdis.checkpoints import CheckpointError
from mmdiffdis.synthetic.scene import draw_sample


@pytest.fixture(params=[1, 2])
def config(request, stock_config):
    """Config of a segmentor of one and of two channels."""
    return stock_config(request.param)


@pytest.fixture
def two_channels(stock_config, stock_checkpoint) -> tuple:
    """(config, checkpoint) of a two-class segmentor."""
    config = stock_config(2)
    return config, stock_checkpoint(config)


def test_mask_equals_the_test_pipelines_prediction(config, stock_checkpoint):
    """Compared with data set, model and `foreground_probability`, called one after the other."""
    from mmengine.dataset import pseudo_collate
    from mmseg.registry import DATASETS

    from mmdiffdis.structures import foreground_probability

    inferencer = DISInferencer(config, stock_checkpoint(config), device='cpu')
    dataset = DATASETS.build(Config.fromfile(config).test_dataloader.dataset)
    result = inferencer(dataset.get_data_info(1)['img_path'])
    with torch.no_grad():
        sample = inferencer.model.test_step(pseudo_collate([dataset[1]]))[0]
    expected = foreground_probability(sample).numpy()
    np.testing.assert_array_equal(result.mask, expected)
    assert result.mask.shape == (40, 56) and result.mask.dtype == np.float32
    assert result.mask.std() > 0
    assert result.stem == 'b #1' and result.edge is None and not inferencer.model.training


def test_path_array_and_pillow_image_are_the_same(two_channels, tmp_path, draw_pair):
    inferencer = DISInferencer(*two_channels, device='cpu')
    rgb = draw_pair(height=33, width=47)[0]
    Image.fromarray(rgb).save(tmp_path / 'a.png')
    expected = inferencer(tmp_path / 'a.png').mask
    for image in (rgb, Image.fromarray(rgb), Image.open(tmp_path / 'a.png')):
        np.testing.assert_array_equal(inferencer(image).mask, expected)
    opaque = np.dstack([rgb, np.full((33, 47), 255, np.uint8)])
    np.testing.assert_array_equal(inferencer(opaque).mask, expected)
    assert inferencer(Image.open(tmp_path / 'a.png')).stem == 'a'
    assert inferencer(rgb).stem == 'image' and inferencer(rgb, stem='x').stem == 'x'
    assert inferencer(rgb, stem='cafe\u0301').stem == 'caf\u00e9'  # as macOS decomposes names


@pytest.mark.parametrize(
    ('box', 'seen'), [((20, 10, 40, 30), (18, 8, 42, 32)), ((-9, 20, 30, 99), (0, 12, 34, 33))]
)
def test_box_is_predicted_alone_with_its_margin_and_put_back(diffusion, draw_pair, box, seen):
    inferencer = DISInferencer(*diffusion, device='cpu', edge=True)
    rgb = draw_pair(height=33, width=47)[0]
    left, top, right, bottom = seen
    result = inferencer(rgb, box=box)
    part = inferencer(np.ascontiguousarray(rgb[top:bottom, left:right]))
    for name in ('mask', 'edge'):
        whole = getattr(result, name)
        assert whole.shape == (33, 47)
        np.testing.assert_array_equal(whole[top:bottom, left:right], getattr(part, name))
        whole[top:bottom, left:right] = 0
        assert not whole.any()
    np.testing.assert_array_equal(result.image, rgb)
    with pytest.raises(ValueError, match='box 47,0,60,9: the image, 47x33, has no pixel in it'):
        inferencer(rgb, box=(47, 0, 60, 9))


def test_grey_array_is_a_grey_image(two_channels, draw_pair):
    inferencer = DISInferencer(*two_channels, device='cpu')
    grey = draw_pair()[1]
    mask = inferencer(grey).mask
    np.testing.assert_array_equal(mask, inferencer(np.dstack([grey] * 3)).mask)


def test_exif_rotated_photograph_has_an_upright_mask(two_channels, tmp_path, draw_pair):
    inferencer = DISInferencer(*two_channels, device='cpu')
    rgb = draw_pair()[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # viewers rotate by 90 degrees clockwise
    Image.fromarray(np.rot90(rgb, 1).copy()).save(tmp_path / 'turned.png', exif=exif)
    result = inferencer(tmp_path / 'turned.png')
    np.testing.assert_array_equal(result.image, rgb)
    np.testing.assert_array_equal(result.mask, inferencer(rgb).mask)


def test_config_object_is_left_unchanged(two_channels):
    cfg = Config.fromfile(two_channels[0])
    before = cfg.pretty_text
    DISInferencer(cfg, two_channels[1], device='cpu', edge=True, seed=3)
    assert cfg.pretty_text == before


def test_dict_is_a_config(two_channels, draw_pair):
    plain = Config.fromfile(two_channels[0]).to_dict()
    before = copy.deepcopy(plain)
    result = DISInferencer(plain, two_channels[1], device='cpu', seed=3)(draw_pair()[0])
    expected = DISInferencer(*two_channels, device='cpu', seed=3)(draw_pair()[0])
    np.testing.assert_array_equal(result.mask, expected.mask)
    assert plain == before


@pytest.mark.parametrize(('config', 'kind'), [(None, 'NoneType'), (['a.py'], 'list')])
def test_wrong_configs_are_refused(config, kind):
    with pytest.raises(TypeError, match=f'config is a {kind}: expected the path.* or a dict'):
        DISInferencer(config, 'x.pth')


def test_edge_and_seed_reach_the_models_test_cfg(two_channels):
    plain = DISInferencer(*two_channels, device='cpu').model.test_cfg
    assert 'edge' not in plain and plain['seed'] == 7
    asked = DISInferencer(*two_channels, device='cpu', edge=True, seed=3).model.test_cfg
    assert asked['edge'] is True and asked['seed'] == 3


def test_pipeline_of_the_test_data_set_is_used_if_there_is_no_other(two_channels):
    cfg = Config.fromfile(two_channels[0])
    cfg.pop('test_pipeline')
    assert DISInferencer(cfg, two_channels[1], device='cpu')(np.zeros((8, 9, 3), np.uint8))
    cfg.pop('test_dataloader')
    with pytest.raises(ValueError, match='expected test_pipeline or'):
        DISInferencer(cfg, two_channels[1], device='cpu')


@pytest.mark.parametrize('change', ['missing', 'unexpected', 'shape'])
def test_checkpoint_that_does_not_fit_is_refused(two_channels, change):
    config, path = two_channels
    checkpoint = torch.load(path)
    state = checkpoint['state_dict']
    if change == 'missing':
        del state['decode_head.conv_seg.bias']
    elif change == 'unexpected':
        state['decode_head.conv_seg.extra'] = torch.zeros(1)
    else:
        state['decode_head.conv_seg.bias'] = torch.zeros(5)
    torch.save(checkpoint, path)
    with pytest.raises(CheckpointError, match=r'does not fit the model[\s\S]*conv_seg\.(b|e)'):
        DISInferencer(config, path, device='cpu')


def test_checkpoint_of_another_model_is_named_briefly(stock_config, tmp_path):
    path = tmp_path / 'x.pth'
    torch.save({'state_dict': {f'layer.{i}.weight': torch.zeros(1) for i in range(999)}}, path)
    with pytest.raises(CheckpointError, match=r'x\.pth does not fit') as caught:
        DISInferencer(stock_config(2), path, device='cpu')
    assert len(str(caught.value)) < 2000


def test_missing_files(stock_config, tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.py'):
        DISInferencer('nowhere.py', 'x.pth')
    with pytest.raises(FileNotFoundError, match='nowhere.pth'):
        DISInferencer(stock_config(2), 'nowhere.pth')


@pytest.mark.parametrize('kind', [Config, dict])
def test_config_without_a_model(kind):
    with pytest.raises(ValueError, match='has no model'):
        DISInferencer(kind({'test_pipeline': []}), 'x.pth')


@pytest.mark.parametrize(
    ('image', 'error', 'message'),
    [
        (np.zeros((4, 4), np.float32), ValueError, r'float32 of shape \(4, 4\): expected uint8'),
        (np.zeros((4, 4, 2), np.uint8), ValueError, r'shape \(4, 4, 2\)'),
        (np.zeros((0, 4, 3), np.uint8), ValueError, r'shape \(0, 4, 3\)'),
        (Image.new('RGB', (0, 4)), ValueError, '0x4 pixels'),
        ('', FileNotFoundError, 'empty'),
        (7, TypeError, 'images is a int'),
        (b'\x89PNG', TypeError, 'images is a bytes'),
        (io.BytesIO(), TypeError, r'images is a BytesIO.*\(PIL.Image.open reads file objects'),
        (torch.zeros(3, 4, 4), TypeError, 'images is a Tensor'),
        ({'a': 'gone.jpg'}, TypeError, 'images is a dict'),
        ('https://localhost:1/a.jpg', ValueError, "a.jpg' is a URL: download it"),
        ('gone.jpg', FileNotFoundError, 'gone.jpg'),
    ],
)
def test_wrong_images_are_refused(two_channels, image, error, message):
    with pytest.raises(error, match=message):
        DISInferencer(*two_channels, device='cpu')(image)


@pytest.fixture(scope='module')
def diffusion(tmp_path_factory) -> tuple:
    """(config, checkpoint) of a tiny diffusion model that predicts v, as such models do."""
    init_default_scope('mmseg')
    folder = tmp_path_factory.mktemp('diffusion')
    scheduler = dict(prediction_type='v_prediction')
    pipeline = [dict(type='DISResize', scale=(64, 64)), dict(type='PackDISInputs')]
    cfg = Config(dict(model=tiny_config(scheduler=scheduler), test_pipeline=pipeline))
    torch.manual_seed(0)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), folder / 'tiny.pth')
    return cfg, folder / 'tiny.pth'


@pytest.fixture
def images(draw_pair) -> list[np.ndarray]:
    sizes = (40, 56), (61, 30), (64, 64), (33, 47)
    pixel = np.full((1, 1, 3), 90, np.uint8)
    return [*(draw_pair(i, *size)[0] for i, size in enumerate(sizes)), pixel]


def assert_same(results, expected, atol=1e-5):
    assert len(results) == len(expected)
    for result, one in zip(results, expected, strict=True):
        np.testing.assert_allclose(result.mask, one.mask, atol=atol, rtol=0)


@pytest.mark.parametrize('batch_size', [1, 2, 3, 9])
def test_many_images_have_the_masks_of_single_ones(diffusion, images, batch_size):
    inferencer = DISInferencer(*diffusion, device='cpu')
    results = list(inferencer(images, batch_size=batch_size))
    assert_same(results, [inferencer(image) for image in images])
    assert [result.index for result in results] == list(range(5))


def test_folder_list_and_generator_are_the_same(diffusion, images, tmp_path):
    inferencer = DISInferencer(*diffusion, device='cpu', edge=True)
    folder = tmp_path / 'photos'
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f'{i}.png')
    paths = sorted(folder.iterdir())
    alone = [inferencer(path) for path in paths]
    assert [result.stem for result in alone] == ['0', '1', '2', '3', '4']
    assert all(result.edge.shape == result.mask.shape for result in alone)
    for many in (folder, str(folder), paths, (path for path in paths)):
        assert_same(list(inferencer(many)), alone)


def test_endless_generator_is_predicted_as_it_goes(two_channels, images):
    inputs = (image for image in itertools.cycle(images))
    results = DISInferencer(*two_channels, device='cpu')(inputs)
    assert [next(results).index for _ in range(7)] == list(range(7))
    results.close()
    assert next(inputs) is not None  # goes on


@pytest.mark.parametrize('batch_size', [1, 3])
def test_generator_that_fails_loses_no_results(two_channels, images, batch_size):
    def camera():
        yield from images[:4]
        raise RuntimeError('the camera is gone')

    results = []
    with pytest.raises(RuntimeError, match='the camera is gone'):
        for result in DISInferencer(*two_channels, device='cpu')(camera(), batch_size=batch_size):
            results.append(result)
    assert [result.index for result in results] == [0, 1, 2, 3]


@pytest.mark.parametrize('batch_size', [1, 4])
def test_broken_images_are_reported_and_the_others_are_predicted(
    two_channels, images, tmp_path, batch_size
):
    (tmp_path / 'broken.jpg').write_bytes(b'\xff\xd8\xff')
    bad = tmp_path / 'broken.jpg', np.zeros((2, 2)), None
    inputs = [images[0], bad[0], images[1], *bad[1:], images[2]]
    inferencer = DISInferencer(*two_channels, device='cpu')
    reports = []
    results = list(
        inferencer(inputs, batch_size=batch_size, on_error=lambda *report: reports.append(report))
    )
    assert [result.index for result in results] == [0, 2, 5]
    assert [name for name, _ in reports] == [str(tmp_path / 'broken.jpg'), 'image 3', 'image 4']
    assert 'cannot read' in str(reports[0][1]) and 'float64' in str(reports[1][1])


def test_failing_image_of_a_batch_does_not_affect_the_others(two_channels, images, monkeypatch):
    inferencer = DISInferencer(*two_channels, device='cpu')
    step = inferencer.model.test_step

    def fail_for_the_square(data):
        samples = step(data)
        for sample in samples:
            if sample.ori_shape == (64, 64):
                sample.seg_logits.data[0, 0, 0] = torch.nan
        return samples

    monkeypatch.setattr(inferencer.model, 'test_step', fail_for_the_square)
    reports = []
    results = list(inferencer(images, batch_size=5, on_error=lambda *r: reports.append(r)))
    assert [result.index for result in results] == [0, 1, 3, 4]
    ((name, error),) = reports
    assert name == 'image 2' and 'NaN or infinity' in str(error)


def test_images_that_cannot_be_stacked_are_predicted_singly(two_channels, images):
    cfg = Config.fromfile(two_channels[0])
    pipeline = [dict(type='PackDISInputs')]  # at their own sizes
    cfg.test_dataloader.dataset.pipeline = pipeline
    cfg.model.data_preprocessor.pop('size')
    inferencer = DISInferencer(cfg, two_channels[1], device='cpu')
    inputs = [images[0], images[0], images[2]]
    expected = [inferencer(image) for image in inputs]
    assert_same(list(inferencer(inputs, batch_size=3)), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('precision', 'encoder_precision', 'levels'),
    # 7 bits of bfloat16's mantissa are fewer than a mask of 256 levels asks for
    [
        ('float16', None, 2),
        ('float16', 'float16', 2),
        ('bfloat16', None, 16),
        ('bfloat16', 'bfloat16', 16),
    ],
)
def test_half_precision_is_near_float32(diffusion, images, precision, encoder_precision, levels):
    exact = DISInferencer(*diffusion, device='cpu')
    half = DISInferencer(
        *diffusion, device='cpu', precision=precision, encoder_precision=encoder_precision
    )
    coder = half.model.vae.autoencoder
    dtype, encoder_dtype = PRECISIONS[precision], PRECISIONS[encoder_precision or 'float32']
    for part, expected in {
        half.model.backbone: dtype,
        half.model.neck: dtype,
        coder.encoder: encoder_dtype,
        coder.quant_conv: encoder_dtype,
        coder.post_quant_conv: dtype,
        coder.decoder: dtype,
    }.items():
        assert {weight.dtype for weight in part.parameters()} == {expected}
    assert half.model.scheduler.signal.dtype == torch.float32
    errors = np.concatenate(
        [np.abs(a.mask - b.mask).ravel() for a, b in zip(exact(images), half(images), strict=True)]
    )
    assert 0 < np.quantile(errors, 0.999) <= levels / 255


@pytest.mark.parametrize('batch_size', [1, 3])
def test_shipped_model_has_the_same_mask_with_and_without_edges(batch_size):
    """To the last bit: a trained model makes 1e-4 of what another rounding changes."""
    scenes = [draw_sample(0, 'DIS-VD', index).image for index in range(3)]
    shipped = 'diffdis_tiny_1xb8-1k2_synthetic-dis-256x256', 'mmdiffdis://diffdis_tiny'
    masks = [
        [
            result.mask
            for result in DISInferencer(*shipped, device='cpu', edge=edge)(
                scenes, batch_size=batch_size
            )
        ]
        for edge in (False, True)
    ]
    np.testing.assert_array_equal(*masks)


def test_precisions_that_change_masks_are_warned_of(diffusion, monkeypatch):
    warnings = []
    monkeypatch.setattr(inference, 'print_log', lambda text, **_: warnings.append(text))
    monkeypatch.setattr(inference, 'is_emulated', lambda dtype: False)
    DISInferencer(*diffusion, device='cpu', precision='float16', tf32=True)  # not on a CPU
    assert not warnings
    DISInferencer(*diffusion, device='cpu', precision='bfloat16')
    assert (
        'VAE decoder in bfloat16: masks of the tiny model differ' in warnings.pop() and not warnings
    )
    for precision in ('float16', 'bfloat16'):
        DISInferencer(*diffusion, device='cpu', encoder_precision=precision)
        assert 'more than 2/255' in warnings.pop() and not warnings


@pytest.mark.slow
@pytest.mark.parametrize(('precision', 'levels'), [('float16', 2), ('bfloat16', 13)])
def test_shipped_model_is_near_float32_in_half_precision(precision, levels):
    """Trained weights, on synthetic images that they were not trained on, and a photograph."""
    images = [draw_sample(0, 'DIS-VD', index).image for index in range(2)]
    images.append(skimage.data.chelsea())
    shipped = 'diffdis_tiny_1xb8-1k2_synthetic-dis-256x256', 'mmdiffdis://diffdis_tiny'
    exact, half = (
        [result.mask for result in DISInferencer(*shipped, device='cpu', precision=p)(images)]
        for p in ('float32', precision)
    )
    errors = np.concatenate([np.abs(a - b).ravel() for a, b in zip(exact, half, strict=True)])
    assert exact[0].max() > 0.9 and 0 < np.quantile(errors, 0.999) <= levels / 255


def test_results_of_half_precision_are_in_float32(diffusion, images):
    result = DISInferencer(*diffusion, device='cpu', precision='float16', edge=True)(images[0])
    assert result.mask.dtype == result.edge.dtype == np.float32


def test_stock_segmentor_in_half_precision(config, stock_checkpoint, images):
    checkpoint = stock_checkpoint(config)
    exact = DISInferencer(config, checkpoint, device='cpu')(images[0]).mask
    half = DISInferencer(config, checkpoint, device='cpu', precision='bfloat16')(images[0]).mask
    assert 0 < np.abs(exact - half).max() < 0.05


@pytest.mark.parametrize('part', ['mask', 'edge'])
def test_overflow_is_an_error_instead_of_a_black_mask(diffusion, images, part):
    inferencer = DISInferencer(*diffusion, device='cpu', edge=part == 'edge')
    decode = inferencer.model.decode_head.forward
    parts = iter(('mask', 'edge'))

    def overflow(clean, vae):
        maps = decode(clean, vae)
        if next(parts) == part:
            maps[-1, 0, 5, 5] = -torch.inf  # would be clipped to 0
        return maps

    inferencer.model.decode_head.forward = overflow
    with pytest.raises(ValueError, match=r'NaN or infinity[\s\S]*float32'):
        inferencer(images[0])


def test_failed_allocation_becomes_a_memory_error(two_channels, images, monkeypatch):
    inferencer = DISInferencer(*two_channels, device='cpu')

    def exhausted(data):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 1 TB")

    monkeypatch.setattr(inferencer.model, 'test_step', exhausted)
    with pytest.raises(MemoryError, match='smaller batch size.*you tried 1 TB'):
        inferencer(images[0])


@pytest.mark.parametrize(
    ('error', 'message'),
    [
        (MemoryError(), 'out of memory'),
        (cv2.error('OpenCV: (-215)\n bad size\n'), r'OpenCV: \(-215\) bad size'),
    ],
)
def test_errors_of_an_image_are_reported_in_one_line(
    two_channels, images, monkeypatch, error, message
):
    inferencer = DISInferencer(*two_channels, device='cpu')
    prepare = inferencer.prepare

    def fail_once(image, stem, index, box):
        if index == 1:
            raise error
        return prepare(image, stem, index, box)

    monkeypatch.setattr(inferencer, 'prepare', fail_once)
    reports = []
    results = list(inferencer(images[:3], on_error=lambda *r: reports.append(r)))
    assert [result.index for result in results] == [0, 2]
    assert re.fullmatch(message, decoding.reason(reports[0][1]))


def test_reading_out_of_memory_does_not_blame_the_file(
    two_channels, tmp_path, draw_pair, monkeypatch
):
    Image.fromarray(draw_pair()[0]).save(tmp_path / 'a.jpg')

    def exhausted(*args):
        raise MemoryError

    monkeypatch.setattr(cv2, 'imdecode', exhausted)
    with pytest.raises(ValueError, match=r"a\.jpg': out of memory$"):
        DISInferencer(*two_channels, device='cpu')(tmp_path / 'a.jpg')


def test_seed_of_numpy(diffusion, images):
    seeds = (3, np.int64(3), 4)
    masks = [DISInferencer(*diffusion, device='cpu', seed=s)(images[0]).mask for s in seeds]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert (masks[1] != masks[2]).any()


def test_stem_that_is_not_utf8(diffusion, images):
    inferencer = DISInferencer(*diffusion, device='cpu')
    assert inferencer(images[0], stem=os.fsdecode(b'caf\xe9')).mask.std() > 0


def test_switches_leave_the_masks_as_they_are(diffusion, images, monkeypatch):
    compiled = []
    monkeypatch.setattr(inference, 'check_compiler', lambda device: None)
    monkeypatch.setattr(torch.nn.Module, 'compile', lambda self, mode: compiled.append(mode))
    plain = DISInferencer(*diffusion, device='cpu')
    expected = [plain(image) for image in images]
    assert not compiled
    options = dict(channels_last=True, vae_slicing=True, compile='default')
    switched = DISInferencer(*diffusion, device='cpu', **options)
    assert compiled == ['default'] * 11  # 4 + 4 blocks of the U-Net, its neck, the VAE's two halves
    weight = switched.model.backbone.down_blocks[0].resnets[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert_same(list(switched(images, batch_size=5)), expected)


BREAKS_IN_BFLOAT16 = pytest.mark.skipif(
    Version(torch.__version__) < Version('2.7'),
    reason="torch 2.6 cannot trace diffusers' question for its version",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    'options',
    [{}, pytest.param(dict(precision='bfloat16', edge=True), marks=BREAKS_IN_BFLOAT16)],
)
def test_blocks_are_compiled_without_a_break(diffusion, images, options):
    torch.compiler.reset()  # the models of other tests count, too, where versions are limited
    plain = DISInferencer(*diffusion, device='cpu', **options)
    expected = plain(images[0])
    for block in plain.compiled_blocks():
        block.compile(backend='eager', fullgraph=True)
    compiled = plain(images[0])
    np.testing.assert_array_equal(compiled.mask, expected.mask)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(precision='half'), r"precision='half': expected one of \['float32'"),
        (
            dict(encoder_precision='float32'),
            'encoder_precision: EncoderDecoder has no VAE',
        ),
        (dict(vae_slicing=True), 'vae_slicing: EncoderDecoder has no VAE'),
        (dict(compile='fast'), r"compile='fast': expected one of \['default'"),
        (dict(device='gpu'), "device='gpu' is not there: expected one of cpu"),
        (dict(device='cuda:99'), "device='cuda:99' is not there: expected one of cpu"),
        (dict(device='npu'), "device='npu' is not there: expected one of cpu"),
        (dict(device='meta'), "device='meta' is not there: expected one of cpu"),
    ],
)
def test_impossible_options(two_channels, options, message):
    with pytest.raises(ValueError, match=message):
        DISInferencer(*two_channels, **options)


def test_batch_size_of_zero(two_channels, images):
    with pytest.raises(ValueError, match='batch_size=0: expected at least 1'):
        DISInferencer(*two_channels, device='cpu')(images, batch_size=0)


@pytest.mark.parametrize('kind', ['cuda', 'mps'])
def test_available_device_is_taken_and_a_missing_one_is_refused(kind, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2 * (kind == 'cuda'))
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: kind == 'mps')

    def allocate(size: int, device: torch.device) -> None:
        if device.type != kind or (device.index or 0) > 1:
            raise RuntimeError('invalid device ordinal')

    monkeypatch.setattr(torch, 'empty', allocate)
    assert choose_device().type == choose_device(kind).type == kind
    there = 'cpu, cuda:0, cuda:1' if kind == 'cuda' else 'cpu, mps'
    for other in ('mps' if kind == 'cuda' else 'cuda', 'cuda:9'):
        message = f"device='{other}' is not there: expected one of {there}; leave it out to choose"
        with pytest.raises(ValueError, match=message):
            choose_device(other)


def test_falling_back_to_the_cpu_is_announced(monkeypatch):
    announced = []
    monkeypatch.setattr(inference, 'print_log', lambda text, **_: announced.append(text))
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: False)
    assert choose_device('cpu').type == 'cpu' and not announced
    assert choose_device().type == 'cpu'
    assert announced == ['no GPU found: predicting on the CPU']


@pytest.mark.parametrize('precision', ['float16', 'bfloat16'])
def test_emulated_precision_is_said(two_channels, monkeypatch, precision):
    said = []
    monkeypatch.setattr(inference, '_warn', said.append)
    monkeypatch.setattr(inference, 'is_emulated', lambda dtype: True)
    DISInferencer(*two_channels, device='cpu')
    assert not said
    DISInferencer(*two_channels, device='cpu', precision=precision)
    assert said == [f'this CPU emulates {precision}, which takes many times as long as float32']


@pytest.mark.parametrize(
    ('kind', 'precision'),
    [('diffusion', 'float32'), ('two_channels', 'float32'), ('two_channels', 'bfloat16')],
)
def test_four_threads_give_the_masks_of_one(request, images, kind, precision):
    model = request.getfixturevalue(kind)
    inferencer = DISInferencer(*model, device='cpu', edge=True, precision=precision)
    jobs = [(image, str(i)) for i, image in enumerate(images[:3])]
    expected = [inferencer(*job) for job in jobs] * 4
    start = threading.Barrier(4)

    def predict(job: tuple[np.ndarray, str]) -> inference.DISResult:
        return inferencer(*job)

    with ThreadPoolExecutor(4, initializer=start.wait, initargs=(60,)) as pool:
        for result, one in zip(pool.map(predict, jobs * 4), expected, strict=True):
            np.testing.assert_array_equal(result.mask, one.mask)
            if kind == 'diffusion':
                np.testing.assert_array_equal(result.edge, one.edge)


def test_prediction_after_a_fork_is_warned_of(two_channels, images, monkeypatch):
    inferencer = DISInferencer(*two_channels, device='cpu')
    said = []
    monkeypatch.setattr(inference, '_warn', said.append)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 2)
    inferencer(images[0])
    assert not said
    monkeypatch.setattr(os, 'getpid', lambda: -1)
    for _ in range(2):
        inferencer(images[0])
    assert len(said) == 1 and "start processes by 'spawn'" in said[0]


@pytest.mark.slow
def test_compilation_without_a_compiler_ends_in_one_line(two_channels, tmp_path):
    config, checkpoint = map(str, two_channels)
    image = tmp_path / 'a.png'
    Image.new('RGB', (32, 32)).save(image)
    command = [sys.executable, ROOT / 'tools' / 'predict.py', config, checkpoint, image]
    command += ['--out', tmp_path / 'out', '--device', 'cpu', '--compile', 'default']
    environment = {
        **os.environ,
        'PYTHONPATH': str(ROOT),
        'CXX': 'no-such-compiler',
        'TORCHINDUCTOR_CACHE_DIR': str(tmp_path / 'cache'),
    }
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 1 and 'Traceback' not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith('predict.py: error: torch.compile does not work on cpu (')
    assert 'install a compiler' in last


def test_cutout_of_a_result(two_channels, images):
    result = DISInferencer(*two_channels, device='cpu')(images[0])
    assert result.cutout().shape == (40, 56, 4)
    np.testing.assert_array_equal(result.cutout()[..., 3], np.rint(result.mask * 255))


# Runs in a process of its own, whose peak memory is that of the largest step.
MEASURE_MEMORY = """
import resource
import sys

import numpy as np

from mmdiffdis.apis import DISInferencer
from mmdiffdis.images.panels import overlay, panel, to_grey


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


small, large = (16, 16), (8000, 10_000)
inferencer = DISInferencer(sys.argv[1], sys.argv[2], device='cpu', edge=True)
for size in (small, large):
    row = np.linspace(0, 255, size[1], dtype=np.uint8)
    image = np.repeat(np.repeat(row[None, :, None], size[0], axis=0), 3, axis=2)
    if size == small:
        inferencer(image).cutout()
        before = peak()
    else:
        result = inferencer(image)
        to_grey(result.mask), panel(result.image, mask=result.mask, edge=result.edge)
        overlay(result.image, result.mask)
        result.cutout()
        assert result.mask.shape == result.edge.shape == size and result.mask.std() > 0
print((peak() - before) / (size[0] * size[1]))
"""


@pytest.mark.slow
def test_memory_of_80_megapixels_is_bounded(diffusion, tmp_path):
    """The image itself, its mask and edge and the cut-out are 3 + 4 + 4 + 4 bytes a pixel."""
    cfg, checkpoint = diffusion
    cfg.dump(str(tmp_path / 'tiny.py'))
    command = [sys.executable, '-c', MEASURE_MEMORY, str(tmp_path / 'tiny.py'), str(checkpoint)]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < 25
