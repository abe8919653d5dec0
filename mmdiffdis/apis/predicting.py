"""Predicting images and videos into a folder, with a record of where each result comes from."""

import hashlib
import io
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from tqdm import tqdm

from ..images.finishing import finish, save
from ..images.options import ResultOptions
from ..images.reading import is_out_of_memory
from ..utils.files import (
    add_to_hash,
    atomic_write,
    is_disk_full,
    printable,
    refuse_folder_of_inputs,
    stem_of,
)
from ..utils.parallel import map_ahead
from .decoding import IMAGE_ERRORS, reason
from .inference import PIXEL_BUDGET, DISInferencer
from .inputs import find_pictures, name_results_in_tree
from .results import Box, DISResult
from .shards import Shard
from .video import VideoReader, VideoWriter, is_video

_RECORD_NAMES = ('predict.json', 'predict-*-of-*.json')
_NOT_TRANSPARENT = 'a video cannot be transparent: choose --background, --frames or another --type'
_LISTED = 20  # images of a kind in the remarks on a run


class NoEdgesError(LookupError):
    """Edges are to be written, and the model predicts none."""


# Settings that `Record` compares besides the options: if one changed, a result is made anew.
CONTENTS = ('model', 'pipeline', 'weights', 'background_file', 'input')


class Record:
    """`predict.json` in a folder of results, which says where each of them comes from.

    The file has a line of JSON for each run, with its settings, and one for each result, with its
    run and with hashes of its input and of itself. Lines are only appended, so that a result costs
    one short write however many there are, and processes of one machine can share the file. Each of
    several shards writes a file of its own, `predict-2-of-4.json`, and reads those of all, since
    machines that append to one file of a network disk may replace each other's lines.

    A line is appended when its result is complete, just before it is renamed to its final name. A
    result counts as done if its hash is that of its line, so that a run can be killed at any
    moment: nothing unfinished counts, and no finished result lacks its line. Files may be copied,
    moved and downloaded again: nothing depends on their times.

    Args:
        folder: Folder of the results; it may not exist yet.
        shard: The share of the inputs that this process predicts.

    Attributes:
        path: The file that this process writes.

    Raises:
        FileExistsError: If the folder has a file of this name that is no such record.
    """

    def __init__(self, folder: Path, shard: Shard | None = None) -> None:
        self.folder, self.shard = folder, shard or Shard()
        index, count = self.shard.index + 1, self.shard.count
        self.path = folder / (f'predict-{index}-of-{count}.json' if count > 1 else _RECORD_NAMES[0])
        # During a run, which asks for its video at each frame.
        self._hash_contents = lru_cache(8)(_hash_contents)
        self._read()

    def _read(self) -> None:
        self._runs: dict[str, dict] = {}  # id -> settings
        # path inside the folder -> entries; of another shard or an earlier run, all but one
        self._results: dict[str, list[dict]] = defaultdict(list)
        self._skipped: dict[str, str] = {}  # input -> reason
        for path in self.files():
            text = path.read_text(encoding='utf-8', errors='replace').lstrip()
            if text and not text.startswith('{"run":'):
                raise FileExistsError(
                    f"'{path}' is not a record of predictions: choose another --out"
                )
            for line in text.splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:  # the run was killed, or the disk full, while it was written
                    continue
                if 'result' in entry:
                    self._results[entry['result']].append(entry)
                elif 'skipped' in entry:
                    self._skipped[entry['skipped']] = entry['reason']
                else:
                    self._runs[entry['run']] = entry['settings']

    def files(self) -> list[Path]:
        """Returns the files of the record, of all shards."""
        return sorted(path for name in _RECORD_NAMES for path in self.folder.glob(name))

    def set_run(self, settings: dict[str, Any], details: dict[str, Any]) -> None:
        """Sets what this run does.

        Args:
            settings: Settings that decide its results, except for rounding: options, and `CONTENTS`
                without the input.
            details: Further settings, which are recorded alone.
        """
        self._settings = json.loads(json.dumps(settings, default=str))
        self._details = details
        run = json.dumps([settings, details], default=str)
        self._run_id = hashlib.sha256(run.encode()).hexdigest()[:12]

    def start(self) -> None:
        """Records this run, unless one of the same settings and details is recorded already."""
        if self._run_id not in self._runs or not self.path.exists():
            self._runs[self._run_id] = self._settings
            self._append({'run': self._run_id, 'settings': self._settings, **self._details})

    def add(self, result: Path, unfinished: Path, source: Path) -> None:
        """Records a result that is about to be renamed.

        Args:
            result: Its final path, in the folder.
            unfinished: Where it is, complete.
            source: The image or video that it was made from.
        """
        result.unlink(missing_ok=True)  # killed now, the run would leave one that its line denies
        entry = {
            'result': self._name(result),
            'run': self._run_id,
            'input': self._hash(source),
            'path': str(source),
            'file': self._hash(unfinished),
        }
        self._append(entry)
        self._results[entry['result']].append(entry)

    def skip(self, source: Path | str, reason: str) -> None:
        """Records that an input could not be predicted."""
        self._append({'skipped': str(source), 'run': self._run_id, 'reason': reason})

    def summarise(self, jobs: list['Job']) -> tuple[int, list[str]]:
        """Returns how many results of all shards are there, and 'file: reason' of those skipped."""
        self._read()
        missing = [
            source
            for source, result in jobs
            if not result.exists()
            or not any(
                self._runs.get(entry['run']) == self._settings
                for entry in self._results[self._name(result)]
            )
        ]
        skipped = [path for path in map(str, missing) if path in self._skipped]
        return len(jobs) - len(missing), [f'{path}: {self._skipped[path]}' for path in skipped]

    def holds(self, path: Path) -> bool:
        """Returns whether a file is a result of a recorded run, unchanged."""
        return _is_inside(path, self.folder) and bool(self._entries(path))

    def is_done(self, result: Path, source: Path) -> bool:
        """Returns whether a result is there, made as this run would make it.

        A folder of frames may lack some, and never is.

        Args:
            result: Path of a file, or of a folder of frames.
            source: The image or video that it is made from.

        Raises:
            FileExistsError: If a file is there that is no result, or was made by other options.
        """
        if result.is_dir():
            for frame in sorted(result.glob('[0-9]' * 6 + '.*')):
                self._is_up_to_date(frame, source)
            return False
        return result.is_file() and self._is_up_to_date(result, source)

    def _is_up_to_date(self, result: Path, source: Path) -> bool:
        now = {**self._settings, 'input': self._hash(source) if source.is_file() else None}
        known = [
            {**self._runs[entry['run']], 'input': entry['input']} for entry in self._entries(result)
        ]
        if any(all(before.get(key) == now[key] for key in now) for before in known):
            return True
        problems = [
            f'{key} {before.get(key)}, now {now[key]}'
            for before in known[-1:]
            for key in now
            if key not in CONTENTS and before.get(key) != now[key]
        ]
        if not known:
            problems = [f'{self.path.name} does not list it, or it was changed']
        if problems:
            raise FileExistsError(
                f"'{result}' is not what this run would make ({'; '.join(problems)}): choose "
                'another --out, or --overwrite'
            )
        return False

    def _entries(self, result: Path) -> list[dict]:
        """Returns the entries of a result as it is."""
        entries = [
            entry for entry in self._results[self._name(result)] if entry['run'] in self._runs
        ]
        now = self._hash(result) if entries else ''
        return [entry for entry in entries if entry['file'] == now]

    def _hash(self, path: Path) -> str:
        status = path.stat()
        return self._hash_contents(path, status.st_size, status.st_mtime_ns)

    def _name(self, result: Path) -> str:
        path = result.parent.resolve() / result.name
        return path.relative_to(self.folder.resolve()).as_posix()

    def _append(self, entry: dict) -> None:
        with self.path.open('a+b') as file:
            is_torn = False  # a last line that a killed process has not finished
            if file.tell():
                file.seek(-1, os.SEEK_END)
                is_torn = file.read(1) != b'\n'
            # one write of a whole line, because other processes may be writing theirs
            line = json.dumps(entry, default=str) + '\n'
            file.write((b'\n' if is_torn else b'') + line.encode())


def hash_file(path: Path) -> str:
    """Returns a hash of a file's contents."""
    return add_to_hash(hashlib.blake2b(digest_size=16), path)


def _hash_contents(path: Path, size: int, time: int) -> str:
    """Returns a hash of a file's contents; size and time are keys of a cache."""
    return hash_file(path)


def hash_weights(model: nn.Module) -> str:
    """Returns a hash of a model's state, whichever file or URL it was loaded from."""
    total = hashlib.blake2b(digest_size=16)
    for name, tensor in model.state_dict().items():
        total.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}'.encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return total.hexdigest()


def _is_inside(path: Path, folder: Path) -> bool:
    """Returns whether a file, or the link to one, lies in a folder or below it."""
    return path.parent.resolve().is_relative_to(folder.resolve())


Job = tuple[Path, Path]  # an image or video, and its result


def plan(
    inputs: list[str],
    options: ResultOptions,
    record: Record,
    frames: bool = False,
    starts: Sequence[Path] = (),
) -> tuple[list[Job], int]:
    """Returns what is to be predicted, and how many of the inputs are earlier results, left out.

    Args:
        inputs: Files, folders and glob patterns.
        options: Options of the results.
        record: Record of the folder for the results.
        frames: Whether a video becomes a folder of images.
        starts: Folders whose sub-folders are kept in the folder for the results.

    Raises:
        FileNotFoundError: If an input does not exist.
        ValueError: If all inputs are results, if results would clash with each other or replace
            inputs, if nothing but videos is to be made transparent, or if inputs of shards are in
            the folder for the results.
    """
    out = record.folder
    refuse_folder_of_inputs(out, map(Path, inputs))
    found = [path for path in find_pictures(inputs) if not any(map(path.match, _RECORD_NAMES))]
    if record.shard.count > 1 and any(_is_inside(path, out) for path in found):
        raise ValueError(
            f"inputs in --out '{out}', to which the other shards write: choose a folder beside them"
        )
    sources = [path for path in found if not record.holds(path)]  # a pattern may reach into --out
    if not sources:
        raise ValueError(f"all inputs ({len(found)}) are results in --out '{out}'")
    if _is_transparent(options) and not frames and all(map(is_video, sources)):
        raise ValueError(_NOT_TRANSPARENT)
    video_suffix = '' if frames else '.mp4'  # of a folder, or of a video

    def suffix(source: Path) -> str:
        return video_suffix if is_video(source) else f'.{options.format}'

    results = name_results_in_tree(sources, starts, out, suffix)
    return list(zip(sources, results, strict=True)), len(found) - len(sources)


def _is_transparent(options: ResultOptions) -> bool:
    return options.type == 'cutout' and options.background is None


def is_empty(result: DISResult, options: ResultOptions) -> bool:
    """Returns whether nothing was found: no pixel is above the level of the options."""
    return not result.mask.max() > options.level


def encode(result: DISResult, options: ResultOptions) -> bytes:
    """Returns the contents of the file that `Prediction` writes.

    Raises:
        NoEdgesError: If edges are asked for, and the model predicts none.
        OSError: If the format has no images of this size.
        ValueError: Likewise.
    """
    file = io.BytesIO()
    save(_finish(result, options), file, options, result.metadata)
    return file.getvalue()


def _finish(result: DISResult, options: ResultOptions) -> Image.Image:
    if options.type == 'edge' and result.edge is None:
        raise NoEdgesError('the model predicts no edges: choose another --type')
    return finish(result.image, result.mask, options, result.opacity, result.edge)


def _list_files(text: str, paths: list[Path]) -> Iterator[str]:
    if paths:
        yield text.format(len(paths))
        yield from (f'  {printable(str(path))}' for path in paths[:_LISTED])
    if len(paths) > _LISTED:
        yield f'  and {len(paths) - _LISTED} more'


class Prediction:
    """Predicts images and videos into files, and keeps count.

    Args:
        inferencer: Predicts.
        record: Record of the folder for the results.
        options: Options of the results. Videos are not cut to their subjects.
        batch_size: Number of images that the network takes at once.
        frames: Whether a video becomes a folder of images.
        box: Part of each image that holds the subject.

    Attributes:
        written: Results, of images and of videos.
        skipped: 'file: reason' of what could not be done.
        empty: Images, and videos, in which nothing was found.
        first_only: Images with further frames or pages, which were left out.
    """

    def __init__(
        self,
        inferencer: DISInferencer,
        record: Record,
        options: ResultOptions,
        batch_size: int = 1,
        frames: bool = False,
        box: Box | None = None,
    ) -> None:
        self._inferencer, self._record, self._options = inferencer, record, options
        self._batch_size, self._frames, self._box = batch_size, frames, box
        self.written: list[Path] = []
        self.skipped: list[str] = []
        self.empty: list[Path] = []
        self.first_only: list[Path] = []

    def run(self, jobs: list[Job]) -> None:
        """Predicts all images, then all videos.

        Raises:
            NoEdgesError: If edges are to be written, and the model predicts none.
            OSError: If the disk is full or cannot be written to any more.
        """
        self._record.start()
        self._predict_images([job for job in jobs if not is_video(job[0])])
        for source, target in jobs:
            if is_video(source):
                self._predict_video(source, target)

    def remarks(self) -> Iterator[str]:
        """Yields lines about the written results that their number does not tell."""
        nothing = f'nothing was found in {{}}, no pixel of which is above {self._options.level}:'
        yield from _list_files(nothing, self.empty)
        yield from _list_files('only the first frame or page was predicted of {}:', self.first_only)
        if any(path.suffix == '.mp4' for path in self.written):
            yield 'videos were written without the sound of their inputs'

    def _predict_images(self, jobs: list[Job]) -> None:
        with tqdm(total=len(jobs), unit='image', disable=not jobs) as bar:
            # an image that did not fit into memory beside others may fit alone
            for source, target in self._predict_in_parallel(jobs, bar):
                try:
                    self._write(self._inferencer(source, box=self._box), source, target)
                except IMAGE_ERRORS as error:
                    self._skip(source, error)
                bar.update()

    def _predict_in_parallel(self, jobs: list[Job], bar: tqdm) -> list[Job]:
        """Predicts while other images are read and written; returns jobs that ran out of memory."""
        targets = dict(jobs)
        out_of_memory = []

        def skip(name: str | Path, error: Exception) -> None:
            if is_out_of_memory(error):
                out_of_memory.append((Path(name), targets[Path(name)]))
                return
            self._skip(name, error)
            bar.update()

        for result, future in map_ahead(
            lambda result: self._write(result, *jobs[result.index]),
            self._predict((source for source, _ in jobs), on_error=skip),
            self._batch_size,
            lambda result: result.mask.size,
            PIXEL_BUDGET,
        ):
            try:
                future.result()
                bar.update()
            except IMAGE_ERRORS as error:
                skip(jobs[result.index][0], error)
        return out_of_memory

    def _predict_video(self, source: Path, target: Path) -> None:
        """Writes a video, or a folder of its frames; at its first bad frame it is skipped."""
        found = False  # in any frame

        def predict(reader: VideoReader) -> Iterator[DISResult]:
            nonlocal found
            results = self._predict(reader, stem=stem_of(source), on_error=_raise)
            for result in tqdm(results, desc=printable(source.name), unit='frame'):
                found |= not is_empty(result, self._options)
                yield result

        try:
            if _is_transparent(self._options) and not self._frames:
                raise ValueError(_NOT_TRANSPARENT)
            reader = VideoReader(source)
            results = predict(reader)
            if self._frames:
                self._write_frames(results, source, target)
            else:
                options = replace(self._options, crop=None)  # all frames have one size
                target.parent.mkdir(parents=True, exist_ok=True)
                with atomic_write(target) as unfinished:
                    writer = VideoWriter(unfinished, reader.fps)
                    for result in results:
                        writer.write(np.asarray(_finish(result, options)))
                    writer.close()
                    self._record.add(target, unfinished, source)
            self.written.append(target)
            self.empty += [] if found else [source]
        except IMAGE_ERRORS as error:
            self._skip(source, error)

    def _skip(self, name: str | Path, error: Exception) -> None:
        if is_disk_full(error):  # the next result could not be written either
            raise error
        self._record.skip(name, reason(error))
        self.skipped.append(f'{name}: {reason(error)}')

    def _write_frames(self, results: Iterable[DISResult], source: Path, folder: Path) -> None:
        result = None
        for result in results:
            self._save(result, source, folder / f'{result.index:06d}.{self._options.format}')
        if result is None:
            raise ValueError('the video has no frames')

    def _write(self, result: DISResult, source: Path, target: Path) -> None:
        self._save(result, source, target)
        self.written.append(target)  # in the thread: an interrupted run finishes what it has begun
        self.empty += [source] if is_empty(result, self._options) else []
        self.first_only += [source] if result.has_more_frames else []

    def _save(self, result: DISResult, source: Path, target: Path) -> None:
        finished = _finish(result, self._options)
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as unfinished:
            save(finished, unfinished, self._options, result.metadata)
            self._record.add(target, unfinished, source)

    def _predict(self, images: Iterable, **options) -> Iterable[DISResult]:
        return self._inferencer(images, batch_size=self._batch_size, box=self._box, **options)


def _raise(name: str, error: Exception) -> None:
    raise error
