"""A network's kernels recorded as CUDA graphs, which one call launches."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

# A graph keeps the memory of its feature maps.
MAX_GRAPHS = 4


def graph_methods(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """Returns modules and the names of their methods that are recorded.

    A model with `graph_methods` names its own, which take and return tensors; for others it is the
    `forward` of each part, e.g. of the backbone.
    """
    if hasattr(model, 'graph_methods'):
        return [(model, name) for name in model.graph_methods]
    parts = [part for name, part in model.named_children() if name != 'data_preprocessor']
    return [(part, 'forward') for part in parts]


def record_graphs(model: nn.Module) -> None:
    """Lets a model launch its network as CUDA graphs, in place."""
    for module, name in graph_methods(model):
        setattr(module, name, CUDAGraph(getattr(module, name)))


class CUDAGraph:
    """A function of tensors that is recorded at the first call with inputs of a shape.

    Results are copies, which later calls leave unchanged. Threads take turns. The graphs of the
    last `MAX_GRAPHS` shapes are kept.

    Args:
        function: Function of tensors on a GPU, or of lists and dicts of them, that neither waits
            for the GPU nor depends on their values, in inference mode.

    Raises:
        ValueError: At a call, if the function cannot be recorded.
    """

    def __init__(self, function: Callable):
        self.function = function
        self.graphs: OrderedDict[Any, tuple[torch.cuda.CUDAGraph, list, Any]] = OrderedDict()
        self.lock = threading.Lock()

    def __call__(self, *args, **kwargs) -> Any:
        leaves, structure = tree_flatten((args, kwargs))
        key = (str(structure), *map(_describe, leaves))
        with self.lock:
            if key not in self.graphs:
                self.graphs[key] = self._record(args, kwargs)
                if len(self.graphs) > MAX_GRAPHS:
                    self.graphs.popitem(last=False)
            self.graphs.move_to_end(key)
            graph, inputs, outputs = self.graphs[key]
            for own, given in zip(inputs, leaves, strict=True):
                if isinstance(given, Tensor):
                    own.copy_(given)
            graph.replay()
            return tree_map(_clone, outputs)

    def _record(self, args: tuple, kwargs: dict) -> tuple[torch.cuda.CUDAGraph, list, Any]:
        """Returns the graph, and the inputs and outputs whose memory it uses."""
        args, kwargs = tree_map(_clone, (args, kwargs))
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):  # libraries choose kernels and take memory, compilers compile
                self.function(*args, **kwargs)
        torch.cuda.synchronize()
        # a graph must contain the casts of the weights that it reads
        torch.clear_autocast_cache()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                outputs = self.function(*args, **kwargs)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f'the network cannot be recorded as a CUDA graph ({reason}): leave CUDA graphs out'
            ) from error
        torch.clear_autocast_cache()
        return graph, tree_flatten((args, kwargs))[0], outputs


def _describe(leaf: Any) -> Any:
    return (leaf.shape, leaf.dtype, leaf.stride()) if isinstance(leaf, Tensor) else leaf


def _clone(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) else leaf
