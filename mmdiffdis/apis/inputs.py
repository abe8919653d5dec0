"""Input files of a command line, and the names of their results."""

import glob
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from mmengine.logging import print_log


def find_pictures(inputs: list[str]) -> list[Path]:
    """Returns the files of the inputs, in their order and without duplicates.

    Links are files of their own. Broken ones are among them, to be reported by whoever reads them.

    Args:
        inputs: Files, folders (the files directly inside, except hidden ones; sub-folders are
            passed over with a warning) and glob patterns.

    Raises:
        FileNotFoundError: If an input is neither a file, nor a folder, nor a pattern of files.
        ValueError: If a folder has no files.
    """
    found = {}
    for name in inputs:
        if not name:  # of an unset shell variable; the path of '' is the current folder
            raise FileNotFoundError("an input is empty ('')")
        path = Path(name)
        if path.is_dir():
            entries = [*path.iterdir()]
            files = [file for file in entries if _is_file_or_broken_link(file)]
            files = sorted(file for file in files if not file.name.startswith('.'))
            if not files:
                raise ValueError(f"the folder '{name}' has no files; sub-folders: '{name}/**/*'")
            if count := sum(not file.name.startswith('.') and file.is_dir() for file in entries):
                print_log(
                    f"{count} sub-folder(s) of '{name}' passed over; '{name}/**/*' takes their "
                    'files as well',
                    logger='current',
                    level=logging.WARNING,
                )
        elif path.is_file():
            files = [path]
        else:
            files = sorted({Path(file) for file in _glob(name)})
            files = [file for file in files if _is_file_or_broken_link(file)]
            if not files:
                raise FileNotFoundError(f"'{name}' is no file, no folder and matches no file")
        for file in files:
            # A link is an input of its own: equal images may be links to one file, as in
            # git-annex. Not Path.resolve(), which raises on circular links.
            found.setdefault(os.path.join(os.path.realpath(file.parent), file.name), file)
    return list(found.values())


def _glob(pattern: str) -> Iterator[str]:
    """Yields the files of a pattern; `**` follows links and enters no folder twice.

    `glob.glob` goes round links that lead in a circle.
    """
    parts = pattern.replace(os.sep, '/').split('/')
    if '**' not in parts:
        yield from glob.glob(pattern)
        return
    place = parts.index('**')
    tail = '/'.join(parts[place + 1 :])
    for start in glob.glob('/'.join([*parts[:place], ''])) if place else ['']:
        entered = set()
        for folder, subfolders, files in os.walk(start or os.curdir, followlinks=True):
            is_new = os.path.realpath(folder) not in entered
            entered.add(os.path.realpath(folder))
            subfolders[:] = [name for name in subfolders if is_new and not name.startswith('.')]
            inside = os.path.join(folder, '').removeprefix('' if start else f'.{os.sep}')
            if is_new and tail:
                yield from _glob(glob.escape(inside) + tail)
            elif is_new:
                yield from (inside + name for name in files if not name.startswith('.'))


def _is_file_or_broken_link(path: Path) -> bool:
    return path.is_file() or (path.is_symlink() and not path.exists())


def name_results(
    images: list[Path], out: Path, suffix: Callable[[Path], str] = lambda image: '.png'
) -> list[Path]:
    """Returns one path in `out` per image, all different.

    A result has the stem of its image. Where stems are equal, it has the whole file name, and if
    that is not enough the folder's name before it.

    Args:
        images: Paths of the images.
        out: Folder of the results.
        suffix: Returns the suffix of an image's result.

    Raises:
        ValueError: If two images have the same folder and file name, or if a result would replace a
            file beside the images.
    """
    namings = (
        lambda image: image.stem,
        lambda image: image.name,
        lambda image: f'{Path(os.path.abspath(image)).parent.name}_{image.name}',
    )
    names: dict[Path, str] = {}
    for naming in namings:
        remaining = [image for image in images if image not in names]
        # without case, because some file systems take A.png for a.png
        candidates = Counter(naming(image).casefold() for image in remaining)
        taken = {name.casefold() for name in names.values()}
        for image in remaining:
            name = naming(image)
            if candidates[name.casefold()] == 1 and name.casefold() not in taken:
                names[image] = name
    unnamed = [str(image) for image in images if image not in names]
    if unnamed:
        raise ValueError(
            f'these have the same names as others and would replace their results: {unnamed[:4]}; '
            'predict them in separate runs, each with its own --out'
        )
    results = [out / f'{names[image]}{suffix(image)}' for image in images]
    # A file beside the images, or where links to them lead, may be one of them or another file of
    # the user; a link elsewhere may lead to one of them.
    folders = {_folder(image) for image in images} | {image.parent.resolve() for image in images}
    targets = {os.path.realpath(image) for image in images}
    for path in results:
        is_beside = path.parent.resolve() in folders and os.path.lexists(path)
        if is_beside or os.path.realpath(path) in targets:
            raise ValueError(f"'{path}' beside the inputs would be replaced: choose another --out")
    return results


def name_results_in_tree(
    images: list[Path], starts: Iterable[Path], out: Path, suffix: Callable[[Path], str]
) -> list[Path]:
    """Returns the paths of `name_results`, in the sub-folders that the images have.

    Args:
        images: Paths of the images.
        starts: Folders whose sub-folders are kept. Of images elsewhere, none is.
        out: Folder of the results.
        suffix: Returns the suffix of an image's result.

    Raises:
        ValueError: As in `name_results`, or if a result has the name of a sub-folder.
    """
    folders: dict[Path, list[Path]] = {}
    for image in images:
        start = next((start for start in starts if image.is_relative_to(start)), image.parent)
        folders.setdefault(out / image.relative_to(start).parent, []).append(image)
    results: dict[Path, Path] = {}
    for folder, inside in folders.items():
        results |= zip(inside, name_results(inside, folder, suffix), strict=True)
    for folder in folders:
        if folder in results.values():
            raise ValueError(
                f"'{folder}' would be a result and a folder of results: predict its input in a "
                'separate run, with another --out'
            )
    return [results[image] for image in images]


def _folder(image: Path) -> Path:
    """Returns the folder of a file; of a link, that of its target."""
    return Path(os.path.realpath(image)).parent
