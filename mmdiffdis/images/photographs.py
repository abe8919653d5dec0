"""Photographs that scikit-image ships."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from skimage import data


def save_photographs(folder: Path, names: Sequence[str]) -> list[Path]:
    """Saves photographs of `skimage.data` to `folder`/NAME.png and returns their paths.

    Args:
        folder: Folder, made if needed.
        names: Functions of `skimage.data`, e.g. 'astronaut'.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f'{name}.png' for name in names]
    for name, path in zip(names, paths, strict=True):
        Image.fromarray(getattr(data, name)()).save(path)
    return paths
