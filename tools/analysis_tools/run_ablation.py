#!/usr/bin/env python
"""Trains and tests a list of configs, one after another, and makes one table of them:

    python tools/analysis_tools/run_ablation.py CONFIG... --work-dir DIR [--seeds 0 1 2]
        [--cfg-options KEY=VALUE ...] [--tta] [--out TABLE.md] [--pictures N]

Each config is trained once a seed with tools/train.py, in `DIR/<config>/seed<seed>/`, and its last
checkpoint scored with tools/test.py; not the best one, since it is chosen on the pictures that it
would be scored on. Their output goes to `log.txt` there. Started again, the command continues where
it was stopped: what has figures is not run again. A run that fails is reported, the rest goes on.

Written are TABLE.md (default: `DIR/table.md`) and the same as .csv: mean and standard deviation of
each measure over the seeds of training. The inference noise keeps the config's seed. Figures of
different protocols, test-time augmentation included, stand in different tables. With --pictures,
`DIR/pictures.jpg` shows N images of the first config's test set: the truth, and the mask of every
config (first seed of training).

Exit code: 0 if every run has figures, 1 otherwise.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path

import mmdiffdis  # noqa: F401, isort: skip - first, for it reports a missing or unsuitable MMEngine

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import find_latest_checkpoint
from mmseg.registry import DATASETS
from PIL import Image

from mmdiffdis.apis import DISInferencer
from mmdiffdis.apis.configs import load_config
from mmdiffdis.cli import BUILD_ERRORS, one_line_errors
from mmdiffdis.images.panels import evenly_spaced
from mmdiffdis.images.panels import row as draw_row
from mmdiffdis.images.reading import read_image, read_rgb
from mmdiffdis.images.values import to_alpha
from mmdiffdis.utils.tables import markdown

TOOLS = Path(__file__).resolve().parents[1]
_PICTURE_SIDE = 192


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='config files')
    parser.add_argument('--work-dir', required=True, type=Path, metavar='DIR')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0], help='seeds of the training')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='of every config, in training and at test',
    )
    parser.add_argument('--tta', action='store_true', help='test with test-time augmentation')
    parser.add_argument('--out', type=Path, metavar='TABLE.md')
    parser.add_argument('--pictures', type=int, default=0, metavar='N', help='images to show')
    return parser.parse_args(argv)


def note_settings(config: str, options: list[str], folder: Path) -> None:
    """Writes down what the runs in `folder` are made with, or checks that it is unchanged.

    Raises:
        ValueError: Runs with other settings are in the folder.
    """
    settings = dict(config=Config.fromfile(config).to_dict(), cfg_options=sorted(options))
    text = json.dumps(settings, indent=1, sort_keys=True, default=str)
    note = folder / 'settings.json'
    if note.exists() and note.read_text() != text:
        raise ValueError(
            f'{folder} has runs of another version of {config} or with other --cfg-options than '
            f'{options}; choose another --work-dir, or remove the folder.'
        )
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(text)


def run(config: str, seed: int, options: list[str], tta: bool, folder: Path) -> dict:
    """Trains and tests, if it has not been done; returns what tools/test.py wrote.

    Raises:
        RuntimeError: One of the two failed, or the training left no checkpoint.
    """
    figures = folder / ('figures_tta.json' if tta else 'figures.json')
    if not figures.exists():
        folder.mkdir(parents=True, exist_ok=True)
        common = ['--cfg-options', *options] if options else []
        train = ['train.py', config, '--resume', '--seed', str(seed), '--work-dir', str(folder)]
        _log([*train, *common], folder)
        checkpoint = find_latest_checkpoint(str(folder))
        if checkpoint is None:
            raise RuntimeError(f'no checkpoint in {folder}')
        test = ['test.py', config, checkpoint, '--work-dir', str(folder / 'test')]
        _log([*test, '--out', str(figures), *(['--tta'] if tta else []), *common], folder)
    return json.loads(figures.read_text())


def _log(command: list[str], folder: Path) -> None:
    path = folder / 'log.txt'
    with path.open('a') as log:
        command = [sys.executable, str(TOOLS / command[0]), *command[1:]]
        result = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT)
    if result.returncode:
        last = path.read_text(errors='replace').strip().splitlines()[-1:]
        raise RuntimeError(f'{" ".join(last)} (more in {path})')


def protocol_of(written: dict, noise_seed: int | list | None = None) -> str:
    """Everything about a test that has to be equal for figures to stand in one column.

    Args:
        written: what tools/test.py wrote.
        noise_seed: what is said of a model that has no noise.
    """
    protocols = [
        f"'{protocol['protocol']}' "
        f'({", ".join(f"{key}={protocol[key]}" for key in ("quantise", "min_max", "binarise"))})'
        for protocol in written['protocol']
    ]
    tta = f'{written["tta"]["passes"]} passes' if written['tta'] else 'none'
    seed = noise_seed if written['seed'] is None else written['seed']
    return (
        f'protocol {" and ".join(protocols) or "not stated"}; test-time augmentation: {tta}; '
        f'noise seed {seed}; {written["images"]} images; last checkpoint; '
        'mean ± standard deviation over the seeds of training'
    )


def rows_of(config: str, runs: dict[int, dict]) -> list[dict]:
    """A row per subset that has figures, the set as a whole being 'all'.

    Args:
        config: A config's name.
        runs: Seed of training -> what tools/test.py wrote.

    Returns:
        'config', 'subset', 'seeds' and, per measure, the list of its figures.
    """
    rows: dict[str, dict] = {}
    for written in runs.values():
        for name, figure in written['metrics'].items():
            subset, _, measure = name.rpartition('/')
            empty = {'config': config, 'subset': subset or 'all', 'seeds': [*runs]}
            rows.setdefault(subset, empty).setdefault(measure, []).append(figure)
    return list(rows.values())


def mean_and_spread(figures: list[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (divisor n - 1), which a single figure has not."""
    spread = statistics.stdev(figures) if len(figures) > 1 else None
    return statistics.fmean(figures), spread


def write_tables(tables: dict[str, list[dict]], failed: list[str], out: Path) -> str:
    """Writes `out` and its .csv; returns the Markdown."""
    blocks, records = [], []
    for protocol, rows in tables.items():
        measures = [key for key in rows[0] if key not in ('config', 'subset', 'seeds')]
        cells = []
        for row in rows:
            record = dict(row, seeds=' '.join(map(str, row['seeds'])), protocol=protocol)
            cells.append([row['config'], row['subset'], record['seeds']])
            for measure in measures:
                mean, spread = mean_and_spread(record.pop(measure))
                cells[-1].append(f'{mean:.4f}' + ('' if spread is None else f' ± {spread:.4f}'))
                record |= {measure: mean, f'{measure}_std': spread}
            records.append(record)
        blocks += [f'{protocol}:', markdown(['config', 'subset', 'seeds', *measures], cells)]
    if failed:
        blocks.append('No figures of:\n\n' + '\n'.join(f'- {line}' for line in failed))
    text = '\n\n'.join(blocks) + '\n'
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding='utf-8')
    columns = list(dict.fromkeys(key for record in records for key in record))
    with out.with_suffix('.csv').open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(records)
    return text


def draw_pictures(folders: dict[str, Path], count: int) -> np.ndarray:
    """uint8 [H, W, 3] RGB: a row for each of some test images, with the masks of every run.

    Args:
        folders: a config's name -> folder with its config file and its last checkpoint.
        count: how many of the images of the first config's test set.
    """
    configs = {name: Config.fromfile(folder / f'{name}.py') for name, folder in folders.items()}
    init_default_scope('mmseg')
    dataset = DATASETS.build(next(iter(configs.values())).test_dataloader.dataset)
    infos = [dataset.get_data_info(i) for i in evenly_spaced(range(len(dataset)), count)]
    rows = [
        {
            'image': read_rgb(info['img_path']),
            'truth': to_alpha(read_image(info['seg_map_path'])),
        }
        for info in infos
    ]
    for name, config in configs.items():
        inferencer = DISInferencer(config, find_latest_checkpoint(str(folders[name])))
        for parts, info in zip(rows, infos, strict=True):
            caption = name.partition('_1xb')[0]  # what follows is recipe and set
            parts[caption] = inferencer(info['img_path']).mask
    drawn = [draw_row(parts, max_side=_PICTURE_SIDE) for parts in rows]
    width = max(one.shape[1] for one in drawn)
    return np.vstack(
        [
            np.pad(one, ((0, 0), (0, width - one.shape[1]), (0, 0)), constant_values=255)
            for one in drawn
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Runs everything; returns the exit code."""
    args = parse_args(argv)
    out = args.out or args.work_dir / 'table.md'
    with one_line_errors(BUILD_ERRORS):
        names = [Path(config).stem for config in args.configs]
        if len({*names}) < len(names):
            raise ValueError(f'configs of the same name: {names}; their folders would be the same.')
        for config, name in zip(args.configs, names, strict=True):
            load_config(config)
            note_settings(config, args.cfg_options, args.work_dir / name)
    tables: dict[str, list[dict]] = {}
    failed = []
    folders: dict[str, Path] = {}
    finished: dict[str, dict[int, dict]] = {}
    for config, name in zip(args.configs, names, strict=True):
        finished[name] = {}
        for seed in args.seeds:
            folder = args.work_dir / name / f'seed{seed}'
            print(f'{name}, seed {seed}: {folder}', flush=True)
            try:
                written = run(config, seed, args.cfg_options, args.tta, folder)
            except RuntimeError as error:
                failed.append(f'{name}, seed {seed}: {error}')
                print(f'failed: {failed[-1]}', file=sys.stderr)
                continue
            finished[name][seed] = written
            folders.setdefault(name, folder)
    # Models without noise stand beside those with it, as long as these have one seed.
    seeds = [written['seed'] for runs in finished.values() for written in runs.values()]
    seeds = [seed for seed in seeds if seed is not None]
    shared = seeds[0] if seeds and all(seed == seeds[0] for seed in seeds) else None
    for name, runs in finished.items():
        by_protocol: dict[str, dict[int, dict]] = {}
        for seed, written in runs.items():
            by_protocol.setdefault(protocol_of(written, shared), {})[seed] = written
        for protocol, of_seeds in by_protocol.items():
            tables.setdefault(protocol, []).extend(rows_of(name, of_seeds))
    print(f'\n{write_tables(tables, failed, out)}\nwritten to {out} and {out.with_suffix(".csv")}')
    if args.pictures and folders:
        path = args.work_dir / 'pictures.jpg'
        Image.fromarray(draw_pictures(folders, args.pictures)).save(path, quality=90)
        print(f'pictures in {path}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
