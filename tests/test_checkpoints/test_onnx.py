"""Weights of ONNX files, exported in several ways, equal those of the model."""

import shutil
import sys
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnx_files import (
    ISNET,
    U2NET,
    Released,
    build,
    edit_tensors,
    export,
    lose_names,
    sort_otherwise,
    tensor,
)
from torch import nn

from mmdiffdis.checkpoints import CheckpointError
from mmdiffdis.checkpoints.onnx import convert_onnx, differences, read_onnx


@pytest.fixture(scope='module')
def small_files(tmp_path_factory):
    """Returns a function that exports the network of a config, once."""

    @cache
    def exported(name, folded):
        path = tmp_path_factory.mktemp('onnx') / 'a.onnx'
        return export(Released(build(name, seed=1)), path, folded)

    return exported


@pytest.fixture
def export_small(small_files, tmp_path):
    """Returns a function that writes the network of a config to a file, which may be changed."""

    def copy(name, folded=True):
        return Path(shutil.copy(small_files(name, folded), tmp_path))

    return copy


def convert(path, name, **options):
    """Returns the model of a config with the weights of a file, the file, and absent layers."""
    network, model = read_onnx(path), build(name, **options)
    weights, absent = convert_onnx(model, network)
    model.load_state_dict(dict(weights), strict=True)
    return model, network, absent


def assert_equal_to_onnxruntime(path, name, tolerance=1e-5, **options):
    model, network, absent = convert(path, name, **options)
    found = differences(model, network)
    assert max(found.values()) < tolerance
    return list(found), absent


@pytest.mark.parametrize(('name', 'outputs'), [(ISNET, 12), (U2NET, 7)])
@pytest.mark.parametrize('folded', [True, False], ids=['folded', 'unfolded'])
@pytest.mark.parametrize('names', ['kept', 'lost', 'lost, sorted otherwise'])
def test_exported_network_equals_onnxruntime_at_every_output(
    name, outputs, folded, names, export_small
):
    path = export_small(name, folded)
    if 'sorted' in names:
        sort_otherwise(path)
    if 'lost' in names:
        lose_names(path)
    compared, absent = assert_equal_to_onnxruntime(path, name)
    assert len(compared) == outputs and not absent


@pytest.mark.slow
@pytest.mark.parametrize('name', [ISNET, U2NET])
def test_half_precision(name, tmp_path):
    path = export(Released(build(name, seed=1)), tmp_path / 'a.onnx', dtype=torch.float16)
    assert read_onnx(path).dtype == torch.float16
    assert_equal_to_onnxruntime(path, name, tolerance=1e-3)


def test_light_network(tmp_path):
    options = dict(width=16, light=True)
    path = export(Released(build(U2NET, seed=1, **options)), tmp_path / 'a.onnx')
    assert_equal_to_onnxruntime(path, U2NET, **options)


@pytest.mark.slow
def test_statistics_that_are_not_folded_are_those_of_the_model(tmp_path):
    original = build(U2NET, seed=1)
    path = export(Released(original), tmp_path / 'a.onnx', folded=False)
    weights, _ = convert_onnx(build(U2NET), read_onnx(path))
    for key, value in original.to_published().items():
        torch.testing.assert_close(weights[key], value, atol=1e-6, rtol=1e-6)


@pytest.mark.slow
def test_another_constant_of_the_batch_norm_is_taken_into_account(tmp_path):
    original = build(U2NET, seed=1)
    for module in original.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-2
    path = export(Released(original), tmp_path / 'a.onnx', folded=False)
    assert_equal_to_onnxruntime(path, U2NET)


def test_network_inside_a_wrapper(tmp_path):
    wrapper = nn.Sequential(Released(build(ISNET, seed=1)))
    assert_equal_to_onnxruntime(export(wrapper, tmp_path / 'a.onnx'), ISNET)


@pytest.mark.slow
@pytest.mark.parametrize('lost', [False, True], ids=['names kept', 'names lost'])
def test_side_outputs_that_were_not_exported_are_zero(lost, tmp_path):
    path = export(Released(build(ISNET, seed=1), outputs=1), tmp_path / 'a.onnx')
    if lost:
        lose_names(path)
    compared, absent = assert_equal_to_onnxruntime(path, ISNET)
    assert len(compared) == 1 and absent == [f'side{i}' for i in range(2, 7)]


def test_weights_behind_casts_and_constants(export_small):
    path = export_small(U2NET)
    file = onnx.load(path)
    for value in [*file.graph.initializer]:
        if value.name.startswith(('onnx::Conv', 'side')):
            half = numpy_helper.from_array(numpy_helper.to_array(value).astype(np.float16))
            stored = onnx.helper.make_node('Constant', [], [f'{value.name}_half'], value=half)
            cast = onnx.helper.make_node(
                'Cast', [f'{value.name}_half'], [value.name], to=onnx.TensorProto.FLOAT
            )
            file.graph.node.insert(0, cast)
            file.graph.node.insert(0, stored)
            file.graph.initializer.remove(value)
    onnx.save(file, path)
    assert_equal_to_onnxruntime(path, U2NET)


# --- files that do not fit -----------------------------------------------------------------------


@pytest.fixture
def exported(export_small):
    return export_small(U2NET)


def error_of(path, name=U2NET, **options) -> str:
    with pytest.raises(CheckpointError) as caught:
        convert(path, name, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1 and str(path) in message
    return message


def test_extra_tensor_is_named(exported):
    edit_tensors(exported, lambda tensors: tensors.append(tensor('more.weight', 4, 4)))
    assert '1 unexpected: more.weight' in error_of(exported)


def test_missing_tensor_is_named(exported):
    edit_tensors(exported, lambda tensors: tensors.remove(tensors[0]))
    assert "has no stored tensor 'side1.weight'" in error_of(exported)


def test_misshapen_tensor_is_named(exported):
    def widen(tensors):
        tensors[0].CopyFrom(tensor(tensors[0].name, 1, 9, 3, 3))

    edit_tensors(exported, widen)
    assert 'side1.weight (got [1, 9, 3, 3], expected [1, 8, 3, 3])' in error_of(exported)


def test_missing_and_extra_convolutions_are_named(tmp_path):
    network = Released(build(ISNET, seed=1))
    path = export(network, tmp_path / 'isnet.onnx')
    message = error_of(path)
    assert '2 unexpected: conv_in.weight, conv_in.bias' in message
    assert '2 missing: outconv.weight, outconv.bias' in message


def test_names_in_another_order_are_refused(exported):
    file = onnx.load(exported)
    sides = [value for value in file.graph.initializer if value.name.startswith('side')]
    names = [value.name for value in sides]
    numbered = {name: f'side{(int(name[4]) % 6) + 1}{name[5:]}' for name in names}
    for value in sides:
        value.name = numbered[value.name]
    for node in file.graph.node:
        node.name = ''
        node.input[:] = [numbered.get(name, name) for name in node.input]
    onnx.save(file, exported)
    assert 'has side2 where the model has side1' in error_of(exported)


def test_another_network_is_refused_in_one_line(tmp_path):
    other = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5)).eval()
    other(torch.zeros(1, 3, 64, 64))
    path = export(other, tmp_path / 'classifier.onnx')
    assert error_of(path).endswith('it has 1 convolutions, the model has 119')


def test_model_with_other_layers_is_refused(exported):
    name = 'birefnet/birefnet_small_1xb16-1k2_synthetic-dis-128x128'
    with pytest.raises(CheckpointError, match='BiRefNet has weights of .*LayerNorm'):
        convert_onnx(build(name), read_onnx(exported))


@pytest.mark.parametrize('content', [b'', b'<html>404</html>', b'\x80\x02}q\x00.'])
def test_file_that_is_no_onnx_file_is_named(content, tmp_path):
    path = tmp_path / 'a.onnx'
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r'a\.onnx is no ONNX file, or damaged'):
        read_onnx(path)


def test_missing_file_and_missing_package_are_named(tmp_path, monkeypatch, exported):
    with pytest.raises(FileNotFoundError, match='nothing.onnx does not exist'):
        read_onnx(tmp_path / 'nothing.onnx')
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(ImportError, match=r"pip install 'mmdiffdis\[onnx\]'"):
        read_onnx(exported)
