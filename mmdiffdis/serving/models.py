"""Models to choose from, and limits of the images that they are given."""

from collections.abc import Sequence
from pathlib import Path

from ..apis.benchmarking import split_model
from ..apis.inference import DISInferencer
from ..images.reading import open_lazily, read_size


class TooLargeError(ValueError):
    """An image has more pixels than are accepted."""


def load_models(
    models: Sequence[str], device: str | None, precision: str
) -> dict[str, DISInferencer]:
    """Returns models by the names of their configs, in their order.

    Args:
        models: Names of models that come with the package, CONFIG:CKPT or ONNX files of `export`.
        device: As in `DISInferencer`.
        precision: As in `DISInferencer`.

    Raises:
        ValueError: If two models have the same name, or one has no checkpoint.
    """
    loaded: dict[str, DISInferencer] = {}
    for model in models:
        config, checkpoint = split_model(model)
        if not checkpoint and not config.endswith('.onnx'):
            raise ValueError(
                f'{model}: expected CONFIG:CKPT, an ONNX file or a model of the package'
            )
        name = Path(config).stem
        if name in loaded:
            raise ValueError(f"{model}: there is a model '{name}' already; rename a config")
        loaded[name] = DISInferencer(config, checkpoint or None, device, precision=precision)
    return loaded


def check_image(path: Path, max_pixels: int) -> int:
    """Returns the number of pixels of an image that someone else sent, from its file's header.

    Raises:
        TooLargeError: If it has more than `max_pixels`.
        ValueError: If it is no image, or a program.
    """
    width, height = read_size(path)
    with path.open('rb') as file:
        if open_lazily(file).format == 'EPS':  # Pillow has Ghostscript run it
            raise ValueError(f"'{path}' is an EPS file, a program: convert it")
    if width * height > max_pixels:
        raise TooLargeError(
            f"'{path}' has {width}x{height} pixels, more than {max_pixels / 1e6:g} million: scale "
            'it down'
        )
    return width * height
