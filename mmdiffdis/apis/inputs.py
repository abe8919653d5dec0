"""From what a command line names to pictures, and from pictures to the names of their results."""

import glob
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path


def find_pictures(inputs: list[str]) -> list[Path]:
    """Files that the inputs stand for, in their order, each once.

    Links to what does not exist are among them: whoever reads them will say so.

    Raises:
        FileNotFoundError: if an input is neither a file, nor a folder, nor a pattern of files.
        ValueError: if a folder has no files.
    """
    found = {}
    for name in inputs:
        if not name:  # of an unset variable of the shell; a path of '' is the folder at hand
            raise FileNotFoundError("an input is empty ('').")
        path = Path(name)
        if path.is_dir():
            files = [file for file in path.iterdir() if _is_file_or_broken_link(file)]
            files = sorted(file for file in files if not file.name.startswith('.'))
            if not files:
                raise ValueError(f"the folder '{name}' has no files; sub-folders: '{name}/**/*'.")
        elif path.is_file():
            files = [path]
        else:
            files = sorted(Path(file) for file in glob.glob(name, recursive=True))
            files = [file for file in files if _is_file_or_broken_link(file)]
            if not files:
                raise FileNotFoundError(f"'{name}' is no file, no folder and matches no file.")
        for file in files:
            # not Path.resolve(), which raises on links that go round in circles
            found.setdefault(os.path.realpath(file) if file.exists() else str(file), file)
    return list(found.values())


def _is_file_or_broken_link(path: Path) -> bool:
    return path.is_file() or (path.is_symlink() and not path.exists())


def name_results(
    pictures: list[Path], out: Path, suffix: Callable[[Path], str] = lambda picture: '.png'
) -> list[Path]:
    """One path in `out` per picture, all different.

    Args:
        pictures: where the pictures are.
        out: a folder.
        suffix: of the result of a picture.

    Raises:
        ValueError: if even folder and file name are not enough to tell two pictures apart, or a
            result would replace a file beside the pictures.
    """
    namings = (
        lambda picture: picture.stem,
        lambda picture: picture.name,
        lambda picture: f'{_folder(picture).name}_{picture.name}',
    )
    names: dict[Path, str] = {}
    for naming in namings:
        remaining = [picture for picture in pictures if picture not in names]
        # file systems that ignore case would take A.png for a.png
        candidates = Counter(naming(picture).casefold() for picture in remaining)
        taken = {name.casefold() for name in names.values()}
        for picture in remaining:
            name = naming(picture)
            if candidates[name.casefold()] == 1 and name.casefold() not in taken:
                names[picture] = name
    unnamed = [str(picture) for picture in pictures if picture not in names]
    if unnamed:
        raise ValueError(
            f'these have the same names as others and would replace their results: {unnamed[:4]}. '
            'Predict them in separate runs, each with its own --out.'
        )
    results = [out / f'{names[picture]}{suffix(picture)}' for picture in pictures]
    # a file beside the pictures may be one of them, or another of the user's; never touch it
    folders = {_folder(picture) for picture in pictures}
    clashes = [path for path in results if path.parent.resolve() in folders and path.exists()]
    if clashes:
        raise ValueError(
            f"'{clashes[0]}' beside the pictures would be replaced; choose another --out."
        )
    return results


def _folder(picture: Path) -> Path:
    """Where the file of a picture lies; of a link, the file that it stands for."""
    return Path(os.path.realpath(picture)).parent
