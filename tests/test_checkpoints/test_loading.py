"""Loading never executes the contents of a file, and reads everything that MMEngine writes."""

import hashlib
import io
import os
import pickle
import subprocess
import tarfile
import threading
from collections import OrderedDict
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader, load_checkpoint
from torch import nn

from mmdiffdis.checkpoints import CheckpointError, explain_misfits, loading, save_weights


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def load(path, map_location='cpu'):
    return CheckpointLoader.load_checkpoint(str(path), map_location)


def assert_same(state_dict, expected):
    assert list(state_dict) == list(expected)
    for key, tensor in expected.items():
        torch.testing.assert_close(state_dict[key], tensor, rtol=0, atol=0)


# --- files that have to be read --------------------------------------------------------------


def test_weights_under_pytorchs_usual_name_are_read(tmp_path, model):
    torch.save(dict(epoch=3, model_state_dict=model.state_dict()), tmp_path / 'a.pth')
    checkpoint = load(tmp_path / 'a.pth')
    assert_same(checkpoint['state_dict'], model.state_dict())
    assert set(checkpoint) == {'epoch', 'state_dict'}


@pytest.mark.parametrize('zipped', [True, False])
def test_training_state_of_mmengine_is_read(tmp_path, model, zipped):
    hub = MessageHub.get_instance(f'test_loading {zipped}')
    for step in range(3):
        hub.update_scalar('train/loss', 2.0 * step)
        hub.update_scalar('train/steps', step)
    infos = {
        'seed': np.uint32(7),
        'best_score': np.float64(0.5),
        'palette': np.arange(6, dtype=np.uint8).reshape(2, 3),
        'kind': np.dtype('float32'),
        'name': np.str_('é'),
        'sizes': (1, [2, {'three': None}]),
    }
    for key, value in infos.items():
        hub.update_info(key, value)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    torch.save(
        dict(
            meta=dict(epoch=1, iter=3),
            state_dict=model.state_dict(),
            message_hub=hub.state_dict(),
            optimizer=optimizer.state_dict(),
        ),
        tmp_path / 'iter_3.pth',
        _use_new_zipfile_serialization=zipped,
    )

    checkpoint = load(tmp_path / 'iter_3.pth')

    assert_same(checkpoint['state_dict'], model.state_dict())
    assert checkpoint['optimizer']['state'][0]['step'] == 1
    buffer = checkpoint['message_hub']['log_scalars']['train/loss']
    assert isinstance(buffer, HistoryBuffer)
    assert buffer.data[0].tolist() == [0, 2, 4] and buffer.statistics('mean') == 2
    loaded = checkpoint['message_hub']['runtime_info']
    assert loaded['seed'] == 7 and loaded['best_score'] == 0.5 and loaded['name'] == 'é'
    assert loaded['kind'] == np.float32 and loaded['sizes'] == (1, [2, {'three': None}])
    np.testing.assert_array_equal(loaded['palette'], infos['palette'])


@pytest.mark.parametrize('core', ['numpy.core', 'numpy._core'])
def test_file_of_either_numpy_is_read(tmp_path, core):
    """numpy 1 writes `numpy.core`, numpy 2 `numpy._core`; the installed one writes only its own."""
    path = tmp_path / 'array.pth'
    torch.save({'array': np.arange(3), 'number': np.float32(2)}, path)
    original = path.read_bytes()
    installed = 'numpy._core' if b'numpy._core.multiarray' in original else 'numpy.core'
    torch.save(0, path)  # rebuilt below, since a zip archive knows its checksums
    reader = torch._C.PyTorchFileReader(io.BytesIO(original))
    pickled = reader.get_record('data.pkl').replace(f'c{installed}.'.encode(), f'c{core}.'.encode())
    assert f'c{core}.multiarray'.encode() in pickled
    writer = torch._C.PyTorchFileWriter(str(path))
    writer.write_record('data.pkl', pickled, len(pickled))
    writer.write_record('byteorder', b'little', len(b'little'))
    writer.write_end_of_file()

    loaded = load(path)
    assert loaded['array'].tolist() == [0, 1, 2] and loaded['number'] == 2


def test_safetensors_round_trip(tmp_path, model):
    path = save_weights(model, tmp_path / 'new' / 'model.safetensors', metadata={'seed': '3'})
    checkpoint = load(path, map_location=None)
    assert_same(checkpoint['state_dict'], dict(sorted(model.state_dict().items())))
    assert checkpoint['meta'] == {'seed': '3'}
    assert os.listdir(path.parent) == ['model.safetensors']


def test_half_precision_spares_integers(tmp_path, model):
    path = save_weights(model, tmp_path / 'half.safetensors', dtype=torch.float16)
    state_dict = load(path)['state_dict']
    assert state_dict['0.weight'].dtype == torch.float16
    assert state_dict['1.num_batches_tracked'].dtype == torch.int64
    weight = model[0].weight.detach().clone()
    load_checkpoint(model, str(path), map_location='cpu')
    assert model[0].weight.dtype == torch.float32
    torch.testing.assert_close(model[0].weight.detach(), weight.half().float(), rtol=0, atol=0)


def test_shared_and_strided_tensors_are_written(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    tied = {'a': base, 'b': base, 'row': base[1], 'transposed': base.t()}
    state_dict = load(save_weights(tied, tmp_path / 'tied.safetensors'))['state_dict']
    assert_same(state_dict, tied)


def test_existing_file_survives_a_failed_write(tmp_path, model, monkeypatch):
    path = save_weights(model, tmp_path / 'model.safetensors')
    before = path.read_bytes()

    def fail(tensors, name, metadata):
        name.write_bytes(b'half of i')
        raise OSError('no space left on device')

    monkeypatch.setattr(loading, 'save_file', fail)
    with pytest.raises(OSError, match='no space left'):
        save_weights(model, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ['model.safetensors']


def test_writing_refuses_other_suffixes_types_and_contents(tmp_path, model):
    with pytest.raises(ValueError, match=r'expected a file name that ends in \.safetensors'):
        save_weights(model, tmp_path / 'model.pth')
    with pytest.raises(ValueError, match='dtype=torch.int8: expected a floating-point type'):
        save_weights(model, tmp_path / 'model.safetensors', dtype=torch.int8)
    with pytest.raises(TypeError, match=r"metadata\['seed'\] is a int, expected text"):
        save_weights(model, tmp_path / 'model.safetensors', metadata={'seed': 3})
    with pytest.raises(TypeError, match="'weights' is a list, expected a tensor"):
        save_weights({'weights': [1.0]}, tmp_path / 'model.safetensors')
    assert not os.listdir(tmp_path)


# --- the ways in which MMEngine reads a checkpoint -------------------------------------------


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """Weights 'one' and 'two' are shipped; `one` holds a Linear(3, 2) below `decoder.`."""
    monkeypatch.setattr(loading, 'SHIPPED_WEIGHTS', tmp_path)
    linear = nn.Linear(3, 2)
    save_weights(nn.ModuleDict({'decoder': linear}), tmp_path / 'one.safetensors')
    save_weights(nn.Linear(1, 1), tmp_path / 'two.safetensors')
    return linear


def test_pretrained_init_with_prefix_from_shipped_weights(shipped):
    class Layer(BaseModule):
        def __init__(self):
            super().__init__(
                dict(type='Pretrained', checkpoint='mmdiffdis://one', prefix='decoder.')
            )
            self.weight = nn.Parameter(torch.zeros(2, 3))
            self.bias = nn.Parameter(torch.zeros(2))

    layer = Layer()
    layer.init_weights()
    assert_same(layer.state_dict(), shipped.state_dict())


class Pair(BaseModule):
    """Two layers, initialised from shipped weights."""

    def __init__(self, first: int = 3, **init_cfg):
        super().__init__(dict(type='Pretrained', checkpoint='mmdiffdis://pair', **init_cfg))
        self.decoder, self.head = nn.Linear(first, 2), nn.Linear(2, 1)


@pytest.fixture
def pair(shipped, tmp_path):
    return lambda **layers: save_weights(nn.ModuleDict(layers), tmp_path / 'pair.safetensors')


def test_pretrained_init_stops_if_the_file_does_not_fit(pair):
    whole = dict(decoder=nn.Linear(3, 2), head=nn.Linear(2, 1))
    pair(**whole)
    Pair().init_weights()
    with pytest.raises(CheckpointError, match=r'size mismatch for decoder.weight.*strict=False'):
        Pair(first=4).init_weights()
    pair(decoder=whole['decoder'])
    with pytest.raises(CheckpointError, match='missing: head.weight, head.bias; to take the part'):
        Pair().init_weights()
    partly = Pair(strict=False)
    partly.init_weights()
    assert torch.equal(partly.decoder.weight, whole['decoder'].weight)


def test_unused_weights_are_a_misfit_of_our_modules_alone(pair, monkeypatch):
    pair(decoder=nn.Linear(3, 2), head=nn.Linear(2, 1), classifier=nn.Linear(2, 1))
    Pair().init_weights()
    monkeypatch.setattr(Pair, '__module__', 'mmdiffdis.models.pair')
    with pytest.raises(CheckpointError, match=r'unexpected: classifier\.'):
        Pair().init_weights()


def test_load_checkpoint_from_shipped_weights(shipped):
    model = nn.ModuleDict({'decoder': nn.Linear(3, 2)})
    load_checkpoint(model, 'mmdiffdis://one', strict=True)
    assert_same(model['decoder'].state_dict(), shipped.state_dict())


def test_unknown_shipped_name_lists_the_known(shipped):
    with pytest.raises(FileNotFoundError) as caught:
        load('mmdiffdis://three')
    assert str(caught.value) == (
        'mmdiffdis://three is not shipped with mmdiffdis; '
        'there is: mmdiffdis://one, mmdiffdis://two'
    )
    with pytest.raises(FileNotFoundError, match='is not shipped'):
        load('mmdiffdis://../weights/one')


def test_home_folder_is_expanded(tmp_path, monkeypatch, model):
    monkeypatch.setenv('HOME', str(tmp_path))
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    assert_same(load('~/model.pth'), model.state_dict())


# --- files that have to be refused -----------------------------------------------------------


class Evil:
    """Executes `function(*arguments)` when it is unpickled."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def evil_objects(marker):
    return [
        (Evil(os.system, f'touch {marker}'), 'system'),
        (Evil(eval, f"open({str(marker)!r}, 'w')"), 'eval'),
        (Evil(subprocess.call, ['touch', str(marker)]), 'call'),
        (Evil(getattr, HistoryBuffer, '__init__'), 'getattr'),
        (Evil(getattr, 'text', 'join'), 'getattr'),
        (Evil(np.load, str(marker)), 'numpy.load'),
    ]


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('case', range(6))
def test_malicious_checkpoint_is_refused(tmp_path, zipped, case):
    marker, path = tmp_path / 'marker', tmp_path / 'evil.pth'
    evil, offending = evil_objects(marker)[case]
    torch.save({'state_dict': evil}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError) as caught:
        load(path)
    assert f'{path} was not loaded' in str(caught.value)
    assert f'{offending}`' in str(caught.value)
    assert 'MMDIFFDIS_TRUST_CHECKPOINT=1' in str(caught.value)
    assert not marker.exists()


def test_malicious_checkpoint_runs_when_trusted(tmp_path, monkeypatch):
    """Shows that the checks above can fail."""
    marker, path = tmp_path / 'marker', tmp_path / 'evil.pth'
    torch.save({'state_dict': Evil(os.system, f'touch {marker}')}, path)
    monkeypatch.setenv('MMDIFFDIS_TRUST_CHECKPOINT', '1')
    load(path)
    assert marker.exists()


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_malicious_plain_pickle_is_refused(tmp_path, protocol):
    marker, path = tmp_path / 'marker', tmp_path / 'evil.pth'
    path.write_bytes(pickle.dumps(Evil(os.system, f'touch {marker}'), protocol=protocol))
    with pytest.raises(CheckpointError):
        load(path)
    assert not marker.exists()


def test_malicious_tar_is_refused(tmp_path):
    """The format of torch before 0.2: a tar archive of pickles."""
    marker, path = tmp_path / 'marker', tmp_path / 'evil.pth'
    data = pickle.dumps(Evil(os.system, f'touch {marker}'), protocol=2)
    with tarfile.open(path, 'w') as archive:
        for name in ('sys_info', 'storages', 'tensors', 'pickle'):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with pytest.raises(CheckpointError, match='cannot be read'):
        load(path)
    assert not marker.exists()


def test_whole_model_is_refused_and_read_when_trusted(tmp_path, model, monkeypatch):
    path = tmp_path / 'whole.pth'
    torch.save(model, path)
    with pytest.raises(CheckpointError, match='torch.nn.modules.container.Sequential'):
        load(path)
    monkeypatch.setenv('MMDIFFDIS_TRUST_CHECKPOINT', '1')
    assert_same(load(path).state_dict(), model.state_dict())


@pytest.mark.filterwarnings('ignore:.*torch.jit.load:UserWarning')
def test_torchscript_is_refused(tmp_path):
    torch.jit.save(torch.jit.script(nn.Linear(1, 1)), tmp_path / 'script.pth')
    with pytest.raises(CheckpointError, match='TorchScript'):
        load(tmp_path / 'script.pth')


def test_malicious_download_is_refused(tmp_path, monkeypatch):
    """torch.hub would run what is in it."""
    marker = tmp_path / 'marker'
    torch.save(Evil(os.system, f'touch {marker}'), tmp_path / 'evil.pth')
    torch.save({'state_dict': {'a': torch.ones(2)}}, tmp_path / 'good.pth')

    def download(url, path, **kwargs):
        downloaded.append(url)
        Path(path).write_bytes((tmp_path / Path(path).name).read_bytes())

    downloaded = []
    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    with pytest.raises(CheckpointError, match='system'):
        load('https://example.org/evil.pth?version=1')
    assert not marker.exists()
    for _ in range(2):  # the second time from torch's folder
        assert_same(load('https://example.org/good.pth')['state_dict'], {'a': torch.ones(2)})
    assert len(downloaded) == 2


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder whose files a local server sends, and its address; torch's folder is empty."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    root = tmp_path / 'served'
    root.mkdir()
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    with ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(root))) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield root, f'http://127.0.0.1:{http.server_port}'
        http.shutdown()
        thread.join()


def test_urls_of_the_same_file_name_are_told_apart(server):
    root, address = server
    for name, value in (('one', 1.0), ('two', 2.0)):
        save_weights({'a': torch.full((2,), value)}, root / name / 'model.safetensors')
    for name, value in (('one', 1.0), ('two', 2.0)):
        state_dict = load(f'{address}/{name}/model.safetensors')['state_dict']
        assert_same(state_dict, {'a': torch.full((2,), value)})


def test_changed_file_is_fetched_again_and_an_unchanged_one_is_not(server, monkeypatch):
    root, address = server
    downloads, download = [], torch.hub.download_url_to_file
    monkeypatch.setattr(
        torch.hub,
        'download_url_to_file',
        lambda *args, **kwargs: downloads.append(args) or download(*args, **kwargs),
    )
    for value, size, expected in ((1.0, 2, 1), (1.0, 2, 1), (3.0, 4, 2)):
        if expected != len(downloads):
            save_weights({'a': torch.full((size,), value)}, root / 'model.safetensors')
        state_dict = load(f'{address}/model.safetensors')['state_dict']
        assert_same(state_dict, {'a': torch.full((size,), value)})
        assert len(downloads) == expected
    (root / 'model.safetensors').unlink()  # no answer: the downloaded file serves
    assert_same(load(f'{address}/model.safetensors')['state_dict'], {'a': torch.full((4,), 3.0)})


def test_file_that_torch_has_downloaded_is_taken_if_it_has_the_hash_of_its_name(server, tmp_path):
    root, address = server
    save_weights({'a': torch.ones(2)}, root / 'model.safetensors')
    contents = (root / 'model.safetensors').read_bytes()
    name = f'model-{hashlib.sha256(contents).hexdigest()[:8]}.safetensors'
    (tmp_path / 'hub/checkpoints').mkdir(parents=True)
    (tmp_path / 'hub/checkpoints' / name).write_bytes(contents)
    assert_same(load(f'{address}/elsewhere/{name}')['state_dict'], {'a': torch.ones(2)})
    (tmp_path / 'hub/checkpoints' / name).write_bytes(b'another file')
    with pytest.raises(OSError, match='404'):
        load(f'{address}/elsewhere/{name}')


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_damaged_download_is_not_kept(tmp_path, monkeypatch, suffix):
    """torch.hub keeps what arrived before a connection broke, or the page of an error."""
    whole = tmp_path / f'whole{suffix}'
    weights = {'a': torch.ones(2)}
    if suffix == '.pth':
        torch.save({'state_dict': weights}, whole)
    else:
        save_weights(weights, whole)
    contents = [whole.read_bytes()[:-20], b'<html>', whole.read_bytes()]
    monkeypatch.setattr(
        torch.hub,
        'download_url_to_file',
        lambda url, path, **kwargs: Path(path).write_bytes(contents.pop(0)),
    )
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    for _ in range(2):
        with pytest.raises(CheckpointError):
            load(f'https://example.org/a{suffix}')
    assert_same(load(f'https://example.org/a{suffix}')['state_dict'], weights)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_config_that_mmengine_would_execute_is_dropped(tmp_path, suffix):
    path = tmp_path / f'a{suffix}'
    if suffix == '.pth':
        torch.save({'state_dict': {}, 'meta': {'config': 'raise SystemExit', 'iter': 1}}, path)
    else:
        save_weights({'a': torch.ones(2)}, path, metadata={'config': 'raise', 'iter': '1'})
    assert [*load(path)['meta']] == ['iter']


# --- files that are damaged ------------------------------------------------------------------


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nothing\.pth does not exist; expected a'):
        load(tmp_path / 'nothing.pth')


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_empty_file_is_named(tmp_path, suffix):
    path = tmp_path / f'empty.{suffix}'
    path.touch()
    with pytest.raises(CheckpointError, match=rf'empty\.{suffix} is empty \(0 bytes\)'):
        load(path)


@pytest.mark.parametrize('fraction', [0.05, 0.5, 0.99])
def test_truncated_checkpoint_is_named(tmp_path, fraction):
    path = tmp_path / 'short.pth'
    torch.save(OrderedDict(weight=torch.zeros(1000)), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(fraction * len(data))])
    with pytest.raises(CheckpointError, match=r'short\.pth is truncated \(\d+ bytes are left'):
        load(path)


def test_truncated_safetensors_is_named(tmp_path, model):
    path = save_weights(model, tmp_path / 'short.safetensors')
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match=r'short\.safetensors \(\d+ bytes\) cannot be read'):
        load(path)


@pytest.mark.parametrize(
    'content', [b'<html>404</html>', b'version https://git-lfs', b'\x89PNG\r', b'hello', b'weights']
)
def test_file_that_is_no_checkpoint_is_named(tmp_path, content):
    path = tmp_path / 'other.pth'
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r'other\.pth \(\d+ bytes\) is not a file written by'):
        load(path)


def test_misfits_of_a_strict_loading_are_explained_and_shortened():
    weights = {f'layer.{i}.weight': torch.zeros(1) for i in range(200)}
    with pytest.raises(CheckpointError) as caught, explain_misfits('a.pth', max_length=100):
        nn.Linear(1, 1).load_state_dict(weights)
    message = str(caught.value)
    assert message.startswith('checkpoint a.pth does not fit the model of the config: Error(s) in')
    assert message.endswith(' ...') and len(message) < 200


def test_saved_weights_have_the_permissions_of_any_new_file(tmp_path):
    path = save_weights({'a': torch.zeros(2)}, tmp_path / 'weights.safetensors')
    (tmp_path / 'other').touch()
    assert path.stat().st_mode == (tmp_path / 'other').stat().st_mode
