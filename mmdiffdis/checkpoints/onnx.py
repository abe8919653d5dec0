"""Weights of ONNX files, for networks of convolutions and batch norms such as U2-Net and IS-Net.

An exported graph differs from a state dict: batch norms may be folded into the convolutions before
them, names may be lost, numbers may be stored in half precision, and layers that no output depends
on are left out. Convolutions are matched by name or, where the names are lost, by their order in a
depth-first walk from the outputs to the input, which does not depend on how the nodes are sorted.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .conversion import Weights, rename_strictly
from .loading import CheckpointError

T = TypeVar('T')

# Largest difference from onnxruntime that is taken for rounding, ten times what is usual. Files in
# float16 round activations as well.
TOLERANCES = {torch.float32: 1e-4, torch.float16: 1e-2}
# Inputs of these operators are sizes and factors.
_RESIZING = ('Resize', 'Upsample')
# Used if the file leaves the input's height and width open.
_DEFAULT_SIDE = 320


class Layer(NamedTuple):
    """Published names of a convolution of a model and of the batch norm after it.

    Attributes:
        conv: Name of the convolution.
        norm: Name of the norm; None: there is none.
        eps: Constant of the norm.
    """

    conv: str
    norm: str | None = None
    eps: float = 0.0


@dataclass
class Convolution:
    """Convolution of a file, with the batch norm after it if that is not folded.

    Attributes:
        names: Names that it may have in a state dict, by its weight and by its node.
        tensors: 'weight' and 'bias', in float32.
        norm: 'weight', 'bias', 'running_mean' and 'running_var', in float32; None: folded, or none.
        eps: Constant of the norm.
    """

    names: tuple[str, str]
    tensors: Weights
    norm: Weights | None = None
    eps: float = 0.0


@dataclass
class OnnxNetwork:
    """Weights and outputs of an ONNX file.

    Attributes:
        path: The file.
        convolutions: Convolutions in depth-first order from the outputs.
        unused: Name -> other tensors of weights.
        dtype: Type in which the weights are stored.
        outputs: Name -> whether it is a probability, after a sigmoid.
    """

    path: Path
    convolutions: list[Convolution]
    unused: Weights
    dtype: torch.dtype
    outputs: dict[str, bool]


class _Graph:
    """Lookups in the graph of an ONNX file.

    Attributes:
        nodes: Nodes in the file's order.
        constants: Name -> stored tensor of ONNX.
        used: Names of the tensors that `stored` has returned.
        dtypes: Their types.
    """

    def __init__(self, path: Path):
        self.path = path
        self.graph = _load(path)
        self.nodes = list(self.graph.node)
        self.producers = {name: i for i, node in enumerate(self.nodes) for name in node.output}
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer} | {
            node.output[0]: attribute.t
            for node in self.nodes
            if node.op_type == 'Constant'
            for attribute in node.attribute
            if attribute.name == 'value'
        }
        self.used: set[str] = set()
        self.dtypes: set[torch.dtype] = set()

    def producer(self, name: str) -> Any:
        """Returns the node that computes a tensor; None: it is stored or an input."""
        return self.nodes[self.producers[name]] if name in self.producers else None

    def before_casts(self, name: str) -> str:
        """Returns the name of the tensor that a tensor is a cast of, or its own."""
        while (node := self.producer(name)) is not None and node.op_type in ('Cast', 'Identity'):
            name = node.input[0]
        return name

    def stored(self, node: Any, index: int) -> Tensor:
        """Returns a stored input of a node in float32."""
        name = self.before_casts(node.input[index])
        if name not in self.constants:
            raise CheckpointError(
                f'{self.path}: {node.op_type} {node.name or node.output[0]} has no stored tensor '
                f'{name!r}; quantised files are not supported'
            )
        tensor = _to_tensor(self.constants[name])
        self.used.add(name)
        self.dtypes.add(tensor.dtype)
        return tensor.float()

    def nodes_from_outputs(self) -> Iterator[Any]:
        """Yields the nodes that the outputs depend on in depth-first order."""

        def inputs_of(index: int) -> list[int]:
            # A map whose size alone is read is no input.
            inputs = [] if self.nodes[index].op_type == 'Shape' else self.nodes[index].input
            return [self.producers[name] for name in inputs if name in self.producers]

        roots = [self.producers[o.name] for o in self.graph.output if o.name in self.producers]
        return (self.nodes[index] for index in _depth_first(roots, inputs_of))

    def unused(self) -> Weights:
        """Returns the floating-point tensors that were not read and are no factors of a resize."""
        sizes = {name for n in self.nodes if n.op_type in _RESIZING for name in n.input[1:]}
        others = [t for t in self.graph.initializer if t.name not in self.used | sizes]
        tensors = {tensor.name: _to_tensor(tensor) for tensor in others}
        return {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}

    def is_probability(self, output: str) -> bool:
        """Returns whether an output is computed by a sigmoid."""
        node = self.producer(self.before_casts(output))
        return node is not None and node.op_type == 'Sigmoid'


def read_onnx(path: str | Path) -> OnnxNetwork:
    """Returns the weights of an ONNX file.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If the package onnx is not installed.
        CheckpointError: If it is no ONNX file, or a convolution has no stored weight.
    """
    path = Path(path)
    graph = _Graph(path)
    convolutions: dict[str, Convolution] = {}  # name of the output -> convolution
    for node in graph.nodes_from_outputs():
        if node.op_type in ('Conv', 'FusedConv'):
            weight = graph.stored(node, 1)
            biased = len(node.input) > 2 and node.input[2]
            bias = graph.stored(node, 2) if biased else weight.new_zeros(len(weight))
            by_weight = graph.before_casts(node.input[1]).removesuffix('.weight')
            by_node = '.'.join(node.name.strip('/').split('/')[:-1])
            convolutions[node.output[0]] = Convolution(
                (by_weight, by_node), dict(weight=weight, bias=bias)
            )
        elif node.op_type == 'BatchNormalization':
            convolution = convolutions.get(graph.before_casts(node.input[0]))
            if convolution is not None:  # otherwise its tensors remain unused, and are reported
                keys = ('weight', 'bias', 'running_mean', 'running_var')
                convolution.norm = {k: graph.stored(node, i) for i, k in enumerate(keys, start=1)}
                convolution.eps = next((a.f for a in node.attribute if a.name == 'epsilon'), 1e-5)
    return OnnxNetwork(
        path,
        list(convolutions.values()),
        graph.unused(),
        torch.float16 if torch.float16 in graph.dtypes else torch.float32,
        {o.name: graph.is_probability(o.name) for o in graph.graph.output},
    )


def convert_onnx(model: nn.Module, network: OnnxNetwork) -> tuple[Weights, list[str]]:
    """Returns the weights of an ONNX file under the published names of a model.

    A folded batch norm becomes the identity. A convolution that the file lacks, because it does not
    contribute to the file's outputs, is zero if it does not contribute to the model's mask either.

    Args:
        model: A `DISBaseline` in evaluation mode, with any weights.
        network: Weights of the file.

    Returns:
        The weights, and the names of convolutions that the file lacks.

    Raises:
        CheckpointError: If the model has other layers, or names or shapes are not exactly its own.
    """
    layers, contributing = _layers(model)
    pairs = _match(network, layers, contributing)
    weights = dict(network.unused)
    for layer, convolution in pairs:
        weights |= {f'{layer.conv}.{key}': t for key, t in convolution.tensors.items()}
        if layer.norm or convolution.norm:
            name = layer.norm or f'{layer.conv} (batch norm)'
            tensors = _norm_tensors(convolution, layer.eps)
            weights |= {f'{name}.{key}': tensor for key, tensor in tensors.items()}
    found = {layer.conv for layer, _ in pairs}
    absent = [layer.conv for layer in layers[contributing:] if layer.conv not in found]
    state = model.to_published()
    weights |= {
        name: torch.zeros_like(tensor)
        for name, tensor in state.items()
        if name.rpartition('.')[0] in absent
    }
    rename_strictly(weights, model.state_dict(), model.PUBLISHED, str(network.path))
    return weights, absent


@torch.no_grad()
def differences(model: nn.Module, network: OnnxNetwork) -> dict[str, float]:
    """Returns the largest difference of each of a file's outputs between onnxruntime and a model.

    Both run on one random image. Maps that exceed 1 are divided by their largest magnitude.

    Args:
        model: A `DISBaseline` in evaluation mode with the weights of the file.
        network: The file.

    Raises:
        ImportError: If the package onnxruntime is not installed.
        CheckpointError: If the shapes of outputs differ.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(network.path), providers=['CPUExecutionProvider'])
    feed = session.get_inputs()[0]
    sides = [side if isinstance(side, int) else _DEFAULT_SIDE for side in feed.shape[2:]]
    noise = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    image = F.interpolate(noise, sides, mode='bicubic')
    array = (image.half() if 'float16' in feed.type else image).numpy()
    expected = session.run([*network.outputs], {feed.name: array})
    result = {}
    outputs = _flatten(model.run(image))
    if len(outputs) < len(expected):
        raise CheckpointError(
            f'{network.path} has {len(expected)} outputs, expected {len(outputs)} at most'
        )
    for (name, is_probability), array, ours in zip(
        network.outputs.items(), expected, outputs, strict=False
    ):
        theirs = torch.from_numpy(array).float()
        if theirs.shape != ours.shape:
            raise CheckpointError(
                f'output {name} of {network.path} is {list(theirs.shape)}, expected '
                f'{list(ours.shape)}'
            )
        ours = ours.sigmoid() if is_probability else ours
        result[name] = float((theirs - ours).abs().max() / theirs.abs().max().clamp(min=1))
    return result


def _load(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist; expected an ONNX file')
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            "reading ONNX files needs the package onnx: `pip install 'mmdiffdis[onnx]'`"
        ) from error
    try:
        graph = onnx.load(path).graph
    except Exception as error:  # of protobuf, or a missing file of external data
        raise CheckpointError(f'{path} is no ONNX file, or damaged: {error}') from error
    if not graph.node or not graph.input:
        raise CheckpointError(f'{path} is no ONNX file, or damaged: it has no graph')
    return graph


def _to_tensor(tensor: Any) -> Tensor:
    from onnx import numpy_helper

    return torch.from_numpy(numpy_helper.to_array(tensor).copy())


def _depth_first(roots: Iterable[T], inputs_of: Callable[[T], list[T]]) -> Iterator[T]:
    """Yields each node after its inputs, which are visited in their order."""
    seen, stack = set(), [(root, False) for root in reversed([*roots])]
    while stack:
        node, inputs_done = stack.pop()
        if inputs_done:
            yield node
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack += [(other, False) for other in reversed(inputs_of(node))]


def _layers(model: nn.Module) -> tuple[list[Layer], int]:
    """Returns a model's layers in depth-first order, and how many of them its mask depends on.

    The graph is that of autograd. The layers of the mask come first.
    """
    name = type(model).__name__
    if not hasattr(model, 'PUBLISHED'):
        raise CheckpointError(f'{name} has no published weights; expected a config of a baseline')
    kinds = {type(m).__name__ for m in model.network.modules() if [*m.parameters(recurse=False)]}
    if kinds - {'Conv2d', 'BatchNorm2d'}:
        raise CheckpointError(
            f'{name} has weights of {", ".join(sorted(kinds - {"Conv2d", "BatchNorm2d"}))}; ONNX '
            'files are read into networks of Conv2d and BatchNorm2d alone, such as U2Net and ISNet'
        )
    names = {module: name for name, module in model.named_modules()}
    published = model.PUBLISHED.published_name
    owners = {
        id(module.weight): (published(names[module]), getattr(module, 'eps', 0.0))
        for module in model.network.modules()
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d))
    }
    with torch.enable_grad():
        outputs = model.run(torch.zeros(1, 3, 64, 64))
        roots = [tensor.grad_fn for tensor in (model.probability(outputs), *_flatten(outputs))]
    return _walk(roots, owners), len(_walk(roots[:1], owners))


def _walk(roots: list[Any], owners: dict[int, tuple[str, float]]) -> list[Layer]:
    """Returns the layers below nodes of autograd's graph.

    Args:
        roots: Nodes of outputs.
        owners: id of a weight -> name and `eps` of its module.
    """
    convs, norms = {}, {}
    for node in _depth_first(roots, lambda node: [f for f, _ in node.next_functions if f]):
        weights = [id(f.variable) for f, _ in node.next_functions if hasattr(f, 'variable')]
        if 'ConvolutionBackward' in node.name():
            convs[node] = owners[weights[0]][0]
        elif 'BatchNormBackward' in node.name():
            norms[node.next_functions[0][0]] = owners[weights[0]]
    return [Layer(name, *norms.get(node, ())) for node, name in convs.items()]


def _match(
    network: OnnxNetwork, layers: list[Layer], contributing: int
) -> list[tuple[Layer, Convolution]]:
    """Returns a file's convolutions with the model's layers.

    Convolutions of unknown names get a layer of their own name, for the strict check to report.
    """
    by_name = {layer.conv: layer for layer in layers}
    convolutions = network.convolutions
    names = [next((n for n in c.names if n in by_name), None) for c in convolutions]
    known = [name for name in names if name]
    if len(known) != len(set(known)):
        twice = next(name for name in known if known.count(name) > 1)
        raise CheckpointError(f'{network.path} has several convolutions {twice}; expected one')
    if 2 * len(known) > len(convolutions):
        layers = [
            by_name.get(name, Layer(convolution.names[0]))
            for name, convolution in zip(names, convolutions, strict=True)
        ]
        return list(zip(layers, convolutions, strict=True))
    if len(convolutions) not in (len(layers), contributing):
        raise CheckpointError(
            f'{network.path} does not fit the model of the config: it has {len(convolutions)} '
            f'convolutions, the model has {len(layers)}'
        )
    pairs = list(zip(layers, convolutions, strict=False))
    for (layer, _), name in zip(pairs, names, strict=True):
        if name not in (None, layer.conv):
            raise CheckpointError(
                f'{network.path} does not fit the model of the config: it has {name} where the '
                f'model has {layer.conv}'
            )
    return pairs


def _norm_tensors(convolution: Convolution, eps: float) -> Weights:
    """Returns a batch norm's tensors: the file's or, if it is folded, those of the identity.

    Args:
        convolution: Convolution of the file.
        eps: Constant of the model's norm.
    """
    if convolution.norm:
        variance = convolution.norm['running_var'] + (convolution.eps - eps)
        tensors = {**convolution.norm, 'running_var': variance}
    else:
        ones = torch.ones_like(convolution.tensors['bias'])
        tensors = dict(
            weight=ones * (1 + eps) ** 0.5, bias=0 * ones, running_mean=0 * ones, running_var=ones
        )
    return {**tensors, 'num_batches_tracked': torch.tensor(0)}


def _flatten(outputs: Tensor | Iterable) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    return [tensor for output in outputs for tensor in _flatten(output)]
