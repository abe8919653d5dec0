"""ONNX files of small networks, exported by the tests, and changes of such files."""

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from conftest import ROOT, weights_by_name
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from onnx import numpy_helper
from torch import nn

ISNET = 'isnet/isnet_small_1xb16-1k2_synthetic-dis-128x128'
U2NET = 'u2net/u2net_small_1xb16-1k2_synthetic-dis-128x128'
SIDE = 64


def build(name: str, seed: int | None = None, **options) -> nn.Module:
    """Returns the model of a config, with weights of a seed if there is one."""
    init_default_scope('mmseg')
    config = Config.fromfile(ROOT / 'configs' / f'{name}.py').model
    model = MODELS.build({**config, 'data_preprocessor': None, **options}).eval()
    if seed is not None:
        shapes = {key: list(tensor.shape) for key, tensor in model.to_published().items()}
        model.load_state_dict(weights_by_name(shapes, seed))
    return model


class Released(nn.Module):
    """A model's network with outputs as of the released classes: probabilities, then features.

    Args:
        model: The model.
        outputs: Number of outputs; None: all.
    """

    def __init__(self, model: nn.Module, outputs: int | None = None):
        super().__init__()
        for name, child in model.network.named_children():
            self.add_module(name, child)
        self.__dict__['network'] = model.network  # not a child: names begin with stage1, ...
        self.outputs = outputs

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = self.network(images)
        logits, features = outputs if isinstance(outputs, tuple) else (outputs, [])
        return (*(logit.sigmoid() for logit in logits), *features)[: self.outputs]


def export(
    network: nn.Module, path: Path, folded: bool = True, dtype: torch.dtype = torch.float32
) -> Path:
    """Exports a network with batch norms folded into the convolutions or not."""
    mode = torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE
    images = torch.zeros(1, 3, SIDE, SIDE, dtype=dtype)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter('ignore')
        torch.onnx.export(
            network.eval().to(dtype),
            (images,),
            str(path),
            dynamo=False,
            training=mode,
            do_constant_folding=folded,
        )
    return path


def lose_names(path: Path) -> None:
    """Replaces all names but those of inputs and outputs by numbers."""
    file = onnx.load(path)
    graph = file.graph
    kept = {value.name for value in (*graph.input, *graph.output)}
    numbers = {}

    def number(name: str) -> str:
        return name if name in kept or not name else numbers.setdefault(name, f'{len(numbers)}')

    for tensor in graph.initializer:
        tensor.name = number(tensor.name)
    for node in graph.node:
        node.name = ''
        node.input[:] = [number(name) for name in node.input]
        node.output[:] = [number(name) for name in node.output]
    onnx.save(file, path)


def sort_otherwise(path: Path) -> None:
    """Sorts the nodes of a file in another order, in which side outputs come early."""
    file = onnx.load(path)
    nodes = list(file.graph.node)
    available = {value.name for value in (*file.graph.input, *file.graph.initializer)} | {''}
    del file.graph.node[:]
    while nodes:
        # the last of those whose inputs are there
        ready = next(node for node in reversed(nodes) if available.issuperset(node.input))
        nodes.remove(ready)
        available |= set(ready.output)
        file.graph.node.append(ready)
    onnx.save(file, path)


def edit_tensors(path: Path, change) -> None:
    """Applies `change` to the file's list of tensors of weights."""
    file = onnx.load(path)
    change(file.graph.initializer)
    onnx.save(file, path)


def tensor(name: str, *shape: int) -> onnx.TensorProto:
    """Returns a float32 tensor of ones."""
    return numpy_helper.from_array(np.ones(shape, np.float32), name)
