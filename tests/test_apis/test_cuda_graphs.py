"""mmdiffdis.apis.cuda_graphs: networks recorded on an NVIDIA GPU and replayed."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmdiffdis.apis import DISInferencer, cuda_graphs
from mmdiffdis.apis.benchmarking import Candidate
from mmdiffdis.apis.configs import load_config
from mmdiffdis.apis.cuda_graphs import CUDAGraph, record_graphs
from mmdiffdis.apis.flops import build_on_meta
from mmdiffdis.utils.stopwatch import Stopwatch

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs an NVIDIA GPU')
CONFIGS = [
    'diffdis_tiny_1xb16-1k2_synthetic-dis-128x128',
    'genpercept_tiny_1xb16-1k2_synthetic-dis-128x128',
    'isnet_small_1xb16-1k2_synthetic-dis-128x128',
    'mvanet_small_1xb16-1k2_synthetic-dis-128x128',
    'segformer_small_1xb16-1k2_synthetic-dis-128x128',
]
SMALL = [
    path
    for path in sorted((ROOT / 'configs').glob('*/*_1xb16-1k2_synthetic-dis-128x128.py'))
    if 'gt-encoder' not in path.stem  # it takes ground truth
]


@on_a_gpu
@torch.no_grad()
def test_results_are_those_of_the_function_and_stay():
    weight = torch.randn(3, 3, device='cuda')
    calls = []

    def function(x, pair):
        calls.append(1)
        return {'sum': x @ weight + pair[0], 'scale': [pair[1] * 2]}

    graph = CUDAGraph(function)
    inputs = [torch.randn(size, 3, device='cuda') for size in (4, 4, 5)]
    results = [graph(x, (x + 1, 3)) for x in inputs]
    assert len(calls) == 2 * 3  # two shapes, of which each is run twice and recorded
    for x, result in zip(inputs, results, strict=True):
        torch.testing.assert_close(result['sum'], x @ weight + x + 1)
        assert result['scale'] == [6]


@on_a_gpu
@torch.no_grad()
def test_the_oldest_graph_gives_way(monkeypatch):
    monkeypatch.setattr(cuda_graphs, 'MAX_GRAPHS', 2)
    graph = CUDAGraph(lambda x: x * 2)
    for size in (1, 2, 1, 3):
        torch.testing.assert_close(
            graph(torch.ones(size, device='cuda')), torch.full((size,), 2.0, device='cuda')
        )
    assert [key[1][0] for key in graph.graphs] == [(1,), (3,)]


@on_a_gpu
@torch.no_grad()
def test_what_waits_for_the_gpu_is_refused():
    graph = CUDAGraph(lambda x: x * float(x.sum()))
    with pytest.raises(ValueError, match='cannot be recorded as a CUDA graph .*: leave CUDA'):
        graph(torch.ones(2, device='cuda'))


@on_a_gpu
@pytest.mark.parametrize('precision', ['float32', 'float16'])
@pytest.mark.parametrize('config', CONFIGS)
def test_masks_are_those_of_the_network(config, precision):
    images = np.random.RandomState(0).randint(0, 256, (3, 90, 120, 3), np.uint8)
    masks = []
    for graphs in (False, True):
        torch.manual_seed(0)
        inferencer = DISInferencer(config, None, 'cuda', precision=precision, cuda_graphs=graphs)
        results = [*inferencer(list(images), batch_size=2), inferencer(images[0])]
        masks.append(np.stack([result.mask for result in results]))
    # kernels may be chosen anew
    np.testing.assert_allclose(*masks, atol=1e-4 if precision == 'float32' else 0.02)
    assert masks[0].std() > 0


def test_parts_are_recorded_and_the_preprocessor_is_not():
    model = nn.Module()
    model.backbone, model.data_preprocessor = nn.Linear(1, 1), nn.Linear(1, 1)
    record_graphs(model)
    assert isinstance(model.backbone.forward, CUDAGraph)
    assert not isinstance(model.data_preprocessor.forward, CUDAGraph)


def test_cpus_are_refused():
    with pytest.raises(ValueError, match='cuda_graphs: the device is cpu, expected an NVIDIA GPU'):
        DISInferencer(CONFIGS[0], None, 'cpu', cuda_graphs=True)


class NoHostTensors(TorchFunctionMode):
    """Refuses tensors made of Python numbers, whose copies to a GPU cannot be recorded."""

    REFUSED = (torch.tensor, torch.as_tensor, torch.from_numpy, Tensor.new_tensor)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        assert function not in self.REFUSED, function
        return function(*args, **(kwargs or {}))


@pytest.mark.slow
@pytest.mark.parametrize('path', SMALL, ids=lambda path: path.stem)
@torch.no_grad()
def test_networks_can_be_recorded(path, monkeypatch):
    """The meta device refuses what waits for a GPU; here it is refused what copies to one."""
    recorded = []

    def checked(function):
        def call(*args, **kwargs):
            recorded.append(function)
            with NoHostTensors():
                return function(*args, **kwargs)

        return call

    monkeypatch.setattr(cuda_graphs, 'CUDAGraph', checked)
    model = build_on_meta(load_config(path).model)
    record_graphs(model)
    model(torch.empty(1, 3, 128, 128, device='meta'), mode='tensor')
    assert recorded


@pytest.mark.parametrize('config', CONFIGS)
@torch.no_grad()
def test_stages_are_measured_outside_of_graphs(config, monkeypatch):
    """The stopwatch waits for the GPU, which nothing that is being recorded may do."""
    inside = []

    def recorded(function):
        def call(*args, **kwargs):
            inside.append(function)
            result = function(*args, **kwargs)
            inside.pop()
            return result

        return call

    monkeypatch.setattr(cuda_graphs, 'CUDAGraph', recorded)
    model = build_on_meta(load_config(config).model)
    record_graphs(model)
    watch = Stopwatch('cpu')
    monkeypatch.setattr(watch, 'now', lambda: pytest.fail('in a graph') if inside else 1.0)
    inferencer = SimpleNamespace(model=model, cuda_graphs=True)
    Candidate('', '', inferencer, watch).time_stages()
    model(torch.empty(1, 3, 128, 128, device='meta'), mode='tensor')
    assert 'network' in watch.seconds and ('encode' in watch.seconds) == ('diffdis' in config)
