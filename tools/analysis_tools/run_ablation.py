#!/usr/bin/env python
"""Trains and tests a list of configs, one after another, and tabulates their scores:

    python tools/analysis_tools/run_ablation.py CONFIG... --work-dir DIR [--seeds 0 1 2]
        [--cfg-options KEY=VALUE ...] [--tta] [--out TABLE.md] [--pictures N]

Each config is trained with each seed by tools/train.py in `DIR/<config>/seed<seed>/`, and its last
checkpoint is scored by tools/test.py. The best checkpoint is not used, because it is chosen on the
images that it would be scored on. The output of both goes to `log.txt` there. Started again, the
command continues where it was stopped and skips what is scored. Failed runs are reported and do not
stop the others.

The tables are TABLE.md (default: `DIR/table.md`) and the same as .csv: mean and standard deviation
of each metric over the training seeds. The inference noise keeps the config's seed. Scores of
different protocols, test-time augmentation included, stand in different tables. With --pictures,
`DIR/pictures.jpg` shows N images of the first config's test set: the ground truth, and the mask of
every config (first training seed).

Exit code: 0 if every run is scored, 1 otherwise.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

TOOLS = Path(__file__).resolve().parents[1]
_IMAGE_SIDE = 192
_MOST_IMAGES = 300  # rows of up to 218 pixels in a JPEG of at most 65500


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'configs', nargs='+', metavar='CONFIG', help='config files, or names of some in configs/'
    )
    parser.add_argument('--work-dir', required=True, type=Path, metavar='DIR')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0], help='training seeds')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='change settings of every config, in training and test',
    )
    parser.add_argument('--tta', action='store_true', help='test with test-time augmentation')
    parser.add_argument('--out', type=Path, metavar='TABLE.md')
    parser.add_argument(
        '--pictures', type=int, default=0, metavar='N', help='number of images to show'
    )
    args = parser.parse_args(argv)
    if not 0 <= args.pictures <= _MOST_IMAGES:
        parser.error(
            f'--pictures {args.pictures}: expected 0 to {_MOST_IMAGES}, which fit into a JPEG'
        )
    return args


def run(config: str, seed: int, options: list[str], tta: bool, folder: Path) -> dict:
    """Trains and tests a config unless it is scored, and returns what tools/test.py wrote.

    Raises:
        RuntimeError: If training or test failed, or the training left no checkpoint.
    """
    from mmengine.runner import find_latest_checkpoint

    scores = folder / ('scores_tta.json' if tta else 'scores.json')
    if not scores.exists():
        folder.mkdir(parents=True, exist_ok=True)
        common = ['--cfg-options', *options] if options else []
        train = ['train.py', config, '--resume', '--seed', str(seed), '--work-dir', str(folder)]
        _run_tool([*train, *common], folder)
        checkpoint = find_latest_checkpoint(str(folder))
        if checkpoint is None:
            raise RuntimeError(f'no checkpoint in {folder}')
        test = ['test.py', config, checkpoint, '--work-dir', str(folder / 'test')]
        _run_tool([*test, '--out', str(scores), *(['--tta'] if tta else []), *common], folder)
    return json.loads(scores.read_text(encoding='utf-8'))


def _run_tool(command: list[str], folder: Path) -> None:
    path = folder / 'log.txt'
    with path.open('a', encoding='utf-8') as log:
        command = [sys.executable, str(TOOLS / command[0]), *command[1:]]
        result = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT)
    if result.returncode:
        last = path.read_text(encoding='utf-8', errors='replace').strip().splitlines()[-1:]
        raise RuntimeError(f'{" ".join(last)} (more in {path})')


def describe_protocol(result: dict, noise_seed: int | list | None = None) -> str:
    """Returns all that must be equal for scores to stand in one column.

    Args:
        result: What tools/test.py wrote.
        noise_seed: Seed to name for a model without inference noise.
    """
    from mmdiffdis.models.tta import describe_tta

    protocols = [
        f"'{protocol['protocol']}' "
        f'({", ".join(f"{key}={protocol[key]}" for key in ("quantise", "min_max", "binarise"))})'
        for protocol in result['protocol']
    ]
    tta = describe_tta(result['tta']) if result['tta'] else 'none'
    seed = noise_seed if result['seed'] is None else result['seed']
    return (
        f'protocol {" and ".join(protocols) or "unknown"}; test-time augmentation: {tta}; '
        f'noise seed {seed}; {result["images"]} images; last checkpoint; '
        'mean ± standard deviation over the training seeds'
    )


def collect_rows(config: str, results: dict[int, dict]) -> list[dict]:
    """Returns a row of the table per subset; the subset 'all' is the whole test set.

    Args:
        config: Name of a config.
        results: Training seed -> what tools/test.py wrote.

    Returns:
        'config', 'subset', 'seeds' and, per metric, the list of its scores.
    """
    rows: dict[str, dict] = {}
    for result in results.values():
        for name, score in result['metrics'].items():
            subset, _, metric = name.rpartition('/')
            empty = {'config': config, 'subset': subset or 'all', 'seeds': [*results]}
            rows.setdefault(subset, empty).setdefault(metric, []).append(score)
    return list(rows.values())


def mean_and_std(scores: list[float]) -> tuple[float, float | None]:
    """Returns mean and sample standard deviation (divisor n - 1; None for a single score)."""
    return statistics.fmean(scores), statistics.stdev(scores) if len(scores) > 1 else None


def write_tables(tables: dict[str, list[dict]], failed: list[str], out: Path) -> str:
    """Writes `out` and its .csv; returns the Markdown.

    Args:
        tables: Protocol -> rows.
        failed: Runs without scores, and why.
        out: Path of the Markdown file.
    """
    from mmdiffdis.utils.tables import markdown

    blocks, records = [], []
    for protocol, rows in tables.items():
        metrics = [key for key in rows[0] if key not in ('config', 'subset', 'seeds')]
        cells = []
        for row in rows:
            record = dict(row, seeds=' '.join(map(str, row['seeds'])), protocol=protocol)
            cells.append([row['config'], row['subset'], record['seeds']])
            for metric in metrics:
                mean, std = mean_and_std(record.pop(metric))
                cells[-1].append(f'{mean:.4f}' + ('' if std is None else f' ± {std:.4f}'))
                record |= {metric: mean, f'{metric}_std': std}
            records.append(record)
        blocks += [f'{protocol}:', markdown(['config', 'subset', 'seeds', *metrics], cells)]
    if failed:
        blocks.append('Without scores:\n\n' + '\n'.join(f'- {line}' for line in failed))
    text = '\n\n'.join(blocks) + '\n'
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding='utf-8')
    columns = list(dict.fromkeys(key for record in records for key in record))
    with out.with_suffix('.csv').open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(records)
    return text


def draw_masks(folders: dict[str, Path], count: int) -> 'np.ndarray':
    """Returns uint8 [H, W, 3] RGB: a row per test image, with the masks of every config.

    Args:
        folders: Name of a config -> folder with its config file and its last checkpoint.
        count: Number of images of the first config's test set.
    """
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from mmengine.runner import find_latest_checkpoint
    from mmseg.registry import DATASETS

    from mmdiffdis.apis import DISInferencer
    from mmdiffdis.images.panels import evenly_spaced, row, stack_rows
    from mmdiffdis.images.reading import read_image, read_rgb
    from mmdiffdis.images.values import to_alpha

    configs = {name: Config.fromfile(folder / f'{name}.py') for name, folder in folders.items()}
    init_default_scope('mmseg')
    dataset = DATASETS.build(next(iter(configs.values())).test_dataloader.dataset)
    infos = [dataset.get_data_info(i) for i in evenly_spaced(range(len(dataset)), count)]
    parts = [
        {
            'image': read_rgb(info['img_path']),
            'ground truth': to_alpha(read_image(info['seg_map_path'])),
        }
        for info in infos
    ]
    for name, config in configs.items():
        inferencer = DISInferencer(config, find_latest_checkpoint(str(folders[name])))
        caption = name.partition('_1xb')[0]  # schedule and data set follow
        for row_parts, info in zip(parts, infos, strict=True):
            row_parts[caption] = inferencer(info['img_path']).mask
    return stack_rows([row(row_parts, max_side=_IMAGE_SIDE) for row_parts in parts])


def check_configs(args: argparse.Namespace) -> dict[str, str]:
    """Returns the configs by their names, after a check that their work dirs fit them.

    Raises:
        FileNotFoundError: If a config does not exist.
        ValueError: If two configs have the same name, or a work dir holds runs of other settings.
    """
    from mmengine.config import Config

    from mmdiffdis.apis.configs import load_config
    from mmdiffdis.utils.files import record_settings

    configs = {Path(config).stem: config for config in args.configs}
    if len(configs) < len(args.configs):
        raise ValueError(
            f'configs of the same name in {args.configs}: expected different names, since their '
            'work dirs are named after them'
        )
    for name, config in configs.items():
        path = load_config(config, options=args.cfg_options).filename
        settings = dict(
            config=Config.fromfile(path).to_dict(), cfg_options=sorted(args.cfg_options)
        )
        record_settings(settings, args.work_dir / name)
    return configs


def main(argv: list[str] | None = None) -> int:
    """Runs everything; returns the exit code."""
    args = parse_args(argv)

    import mmdiffdis  # noqa: F401, isort: skip - first, it reports a missing or unsuitable MMEngine

    from mmdiffdis.cli import BUILD_ERRORS, RUN_ERRORS, one_line_errors
    from mmdiffdis.utils.files import check_writable

    out = args.out or args.work_dir / 'table.md'
    with one_line_errors(BUILD_ERRORS):
        check_writable(out, out.with_suffix('.csv'))
        configs = check_configs(args)
    failed = []
    folders: dict[str, Path] = {}
    results: dict[str, dict[int, dict]] = {name: {} for name in configs}
    for name, config in configs.items():
        for seed in args.seeds:
            folder = args.work_dir / name / f'seed{seed}'
            print(f'{name}, seed {seed}: {folder}', flush=True)
            try:
                results[name][seed] = run(config, seed, args.cfg_options, args.tta, folder)
            except RuntimeError as error:
                failed.append(f'{name}, seed {seed}: {error}')
                print(f'failed: {failed[-1]}', file=sys.stderr)
                continue
            folders.setdefault(name, folder)
    # Models without noise share the table of models with noise if these all have one seed.
    seeds = [result['seed'] for by_seed in results.values() for result in by_seed.values()]
    seeds = [seed for seed in seeds if seed is not None]
    shared = seeds[0] if seeds and all(seed == seeds[0] for seed in seeds) else None
    tables: dict[str, list[dict]] = {}
    for name, by_seed in results.items():
        by_protocol: dict[str, dict[int, dict]] = {}
        for seed, result in by_seed.items():
            by_protocol.setdefault(describe_protocol(result, shared), {})[seed] = result
        for protocol, same_protocol in by_protocol.items():
            tables.setdefault(protocol, []).extend(collect_rows(name, same_protocol))
    print(f'\n{write_tables(tables, failed, out)}\nwritten to {out} and {out.with_suffix(".csv")}')
    if args.pictures and folders:
        from PIL import Image

        path = args.work_dir / 'pictures.jpg'
        with one_line_errors((*BUILD_ERRORS, *RUN_ERRORS)):
            Image.fromarray(draw_masks(folders, args.pictures)).save(path, quality=90)
        print(f'images in {path}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
