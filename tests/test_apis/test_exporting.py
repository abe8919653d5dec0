"""Exported ONNX files: their masks, what they say about images, and programs that know no more."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from conftest import ROOT, weights_by_name
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from PIL import Image
from torch import nn

from mmdiffdis.apis import DISInferencer, exporting
from mmdiffdis.apis.exporting import export_onnx
from mmdiffdis.checkpoints import save_weights
from mmdiffdis.models import DISBaseline
from mmdiffdis.models.onnx_segmentor import METADATA, read_metadata

SMALL = [
    path
    for path in sorted((ROOT / 'configs').glob('*/*_synthetic-dis-128x128.py'))
    if path.parent.name != 'vae' and 'gt-encoder' not in path.stem  # which segment no images
]
SIDE = 64


@MODELS.register_module()
class TwoLayers(DISBaseline):
    """A baseline that is exported in a second."""

    def __init__(self, **kwargs):
        layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1)]
        super().__init__(nn.Sequential(*layers), **kwargs)

    def probability(self, outputs):
        return outputs.sigmoid()

    def losses(self, outputs, targets):
        raise NotImplementedError


@MODELS.register_module()
class OddLayers(TwoLayers):
    """A baseline whose computation depends on values."""

    def probability(self, outputs):
        return outputs.sigmoid() if outputs.mean() > 0 else outputs.tanh()


def config_of(model: dict | None = None, **resize) -> Config:
    mean, std = [120.0, 110.5, 103.53], [58.395, 60.0, 64.0]
    preprocessor = dict(type='U2NetDataPreProcessor', mean=mean, std=std, bgr_to_rgb=True)
    default = dict(type='TwoLayers', data_preprocessor=preprocessor, test_cfg=dict(min_max=True))
    return Config(
        dict(
            model=default | (model or {}),
            test_pipeline=[
                dict(type='LoadDISImage'),
                dict(type='DISResize', **(resize or dict(scale=(SIDE, 48)))),
                dict(type='PackDISInputs'),
            ],
        )
    )


def save_random_weights(model: dict, path):
    """Saves weights with which activations neither vanish nor grow."""
    init_default_scope('mmseg')
    built = MODELS.build(model)
    shapes = {name: list(tensor.shape) for name, tensor in built.named_parameters()}
    return save_weights(built.state_dict() | weights_by_name(shapes, seed=1), path)


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """Config, checkpoint and ONNX file of a model of two layers, of dynamic size."""
    folder = tmp_path_factory.mktemp('exported')
    config = config_of()
    weights = save_random_weights(config.model, folder / 'weights.safetensors')
    export_onnx(config, weights, folder / 'model.onnx', dynamic_size=True)
    return config, weights, folder / 'model.onnx'


@pytest.fixture
def photos(draw_pair) -> list[np.ndarray]:
    sizes = [(90, 130), (40, 56), (200, 70)]
    return [draw_pair(seed, *size)[0] for seed, size in enumerate(sizes)]


def masks(inferencer, images, batch_size=3) -> np.ndarray:
    return np.concatenate([r.mask.ravel() for r in inferencer(images, batch_size=batch_size)])


def run_program(file, photo, out) -> np.ndarray:
    """Runs the program of docs/deployment.md, apart from this package and from torch."""
    programs = re.findall(r'```python\n(.*?)```', (ROOT / 'docs/deployment.md').read_text(), re.S)
    (program,) = (text for text in programs if 'import onnxruntime' in text)
    program += "\nassert not {'mmdiffdis', 'torch', 'cv2'} & sys.modules.keys()"
    command = [sys.executable, '-I', '-c', program, file, photo, out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return np.array(Image.open(out)) / 255


def assert_same_masks(file, weights, config, photos, folder) -> None:
    expected, exported = (
        DISInferencer(*model, device='cpu') for model in ((config, weights), (file, None))
    )
    assert expected(photos[0]).mask.std() > 1e-3
    np.testing.assert_allclose(masks(exported, photos), masks(expected, photos), atol=1e-4)
    Image.fromarray(photos[0]).save(folder / 'photo.png')
    mask = run_program(file, folder / 'photo.png', folder / 'mask.png')
    np.testing.assert_allclose(mask, expected(folder / 'photo.png').mask, atol=0.51 / 255)


@pytest.mark.slow
@pytest.mark.parametrize('path', SMALL, ids=lambda path: path.stem)
def test_exported_systems_equal_pytorch(path, photos, tmp_path):
    """By onnxruntime in batches of three, and by a program that knows the file alone."""
    weights = save_random_weights(Config.fromfile(path).model, tmp_path / 'weights.safetensors')
    export_onnx(path, weights, tmp_path / 'model.onnx')
    assert_same_masks(tmp_path / 'model.onnx', weights, path, photos, tmp_path)


def test_file_holds_what_a_stranger_needs(exported, photos, tmp_path):
    config, weights, file = exported
    assert_same_masks(file, weights, config, photos, tmp_path)
    assert sorted(path.name for path in file.parent.iterdir()) == [file.name, weights.name]
    model = onnx.load(file)
    onnx.checker.check_model(model)
    assert {(opset.domain, opset.version) for opset in model.opset_import} == {('', 18)}
    (image,), (mask,) = model.graph.input, model.graph.output
    assert (image.name, mask.name) == ('image', 'mask')
    dimensions = image.type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dimensions] == ['batch', 3, 'height', 'width']
    (text,) = (entry.value for entry in model.metadata_props if entry.key == METADATA)
    about = json.loads(text)
    assert about['image'] == dict(
        size=[48, SIDE],
        dynamic_size=True,
        dynamic_batch=True,
        resize='PIL.Image.BILINEAR',
        channels='RGB',
        divide_by_maximum=True,
        mean=[120.0, 110.5, 103.53],
        std=[58.395, 60.0, 64.0],
    )
    assert about['mask']['stretch'] == 'after resizing' and about['noise'] is None


def test_other_sizes_where_the_size_is_dynamic(exported, photos):
    config, weights, file = exported
    other = config_of(scale=(80, 112))
    expected, same = DISInferencer(other, weights, 'cpu'), DISInferencer(file, None, 'cpu')
    same.pipeline = expected.pipeline
    np.testing.assert_allclose(masks(same, photos), masks(expected, photos), atol=1e-5)


def test_float16_keeps_inputs_and_outputs(photos, tmp_path):
    config, file = config_of(), tmp_path / 'model.onnx'
    weights = save_random_weights(config.model, tmp_path / 'weights.safetensors')
    export = export_onnx(config, weights, file, precision='float16')
    assert 0 < export.within <= export.maximum < 0.01
    graph = onnx.load(file).graph
    assert {tensor.data_type for tensor in graph.initializer} == {onnx.TensorProto.FLOAT16}
    kinds = {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
    assert kinds == {onnx.TensorProto.FLOAT}
    assert read_metadata(file)['precision'] == 'float16'


@pytest.mark.parametrize(
    ('preprocessor', 'expected'),
    [
        (
            dict(type='SegDataPreProcessor', mean=[1.5, 2, 3], std=[4, 5, 6.25], bgr_to_rgb=False),
            dict(channels='BGR', divide_by_maximum=False, mean=[1.5, 2, 3], std=[4, 5, 6.25]),
        ),
        (
            dict(type='SegDataPreProcessor', mean=[1.5, 2, 3], std=[4, 5, 6.25], bgr_to_rgb=True),
            dict(channels='RGB', divide_by_maximum=False, mean=[1.5, 2, 3], std=[4, 5, 6.25]),
        ),
        (
            dict(type='DISDataPreProcessor'),
            dict(channels='RGB', divide_by_maximum=False, mean=[127.5] * 3, std=[127.5] * 3),
        ),
    ],
)
def test_normalisation_is_found_out(preprocessor, expected):
    model = MODELS.build(config_of(dict(data_preprocessor=preprocessor)).model)
    assert exporting._normalisation(model) == expected


def export_error(tmp_path, config, **options) -> str:
    with pytest.raises(ValueError) as caught:
        export_onnx(config, None, tmp_path / 'model.onnx', **options)
    assert not [*tmp_path.iterdir()]
    return str(caught.value)


def test_what_cannot_be_exported_is_refused(tmp_path):
    message = export_error(tmp_path, config_of(dict(type='OddLayers')))
    assert (
        message.startswith('OddLayers cannot be exported by torch ') and 'deployment.md' in message
    )
    assert "precision='int8': expected one of" in export_error(
        tmp_path, config_of(), precision='int8'
    )
    message = export_error(tmp_path, config_of(scale=(64, 64), keep_ratio=True))
    assert 'sizes that depend on them' in message and '--size HEIGHT WIDTH' in message


def test_file_that_differs_is_not_written(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, '_write', lambda *args: shutil.copy(exported[2], args[-1]))
    message = export_error(tmp_path, config_of())  # other weights
    assert 'differ from those of PyTorch by' in message and message.endswith('nothing was written')
    message = export_error(tmp_path, config_of(), precision='float16')
    assert message.endswith('nothing was written; choose float32')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(precision='float16'), 'precision: the network of an ONNX file is fixed'),
        (dict(compile='default'), 'compile: the network of an ONNX file is fixed'),
        (dict(channels_last=True), 'channels_last: the network of an ONNX file is fixed'),
        (dict(vae_slicing=True), 'vae_slicing: OnnxSegmentor has no VAE'),
    ],
)
def test_options_of_pytorch_are_refused(exported, options, message, monkeypatch):
    monkeypatch.setattr('mmdiffdis.apis.inference.check_compiler', lambda device: None)
    with pytest.raises(ValueError, match=message):
        DISInferencer(exported[2], None, device='cpu', **options)


def test_files_of_other_programs_are_refused(exported, tmp_path):
    model = onnx.load(exported[2])
    del model.metadata_props[:]
    onnx.save(model, tmp_path / 'other.onnx')
    (tmp_path / 'damaged.onnx').write_bytes(exported[2].read_bytes()[:500])
    for name, error, message in (
        ('other.onnx', ValueError, 'does not say how to prepare an image'),
        ('damaged.onnx', ValueError, 'is no ONNX file, or damaged'),
        ('missing.onnx', FileNotFoundError, 'does not exist'),
    ):
        with pytest.raises(error, match=message):
            DISInferencer(tmp_path / name, None, device='cpu')


def test_missing_packages_are_named(exported, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(ImportError, match=r"needs the package onnxruntime: `pip install 'mmdiff"):
        DISInferencer(exported[2], None, device='cpu')
    monkeypatch.setattr(exporting, 'find_spec', lambda name: None)
    with pytest.raises(ImportError, match='export needs onnx, onnxruntime, onnxscript'):
        export_onnx(config_of(), None, tmp_path / 'model.onnx')
