#!/usr/bin/env python
"""Scores a checkpoint on its config's test set: python tools/test.py CONFIG CKPT [--tta] ...

With `--out FILE.json`, the scores are saved with what they depend on: the metric's protocol,
test-time augmentation, noise seed, test pipeline and versions.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner

# Keys of a config that a test does not read; options for training and test may share a list.
TRAINING_KEYS = (
    *('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'auto_scale_lr'),
    *('val_dataloader', 'val_cfg', 'val_evaluator', 'load_partially'),
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(description='Score a checkpoint on the test set of a config.')
    parser.add_argument('config', metavar='CONFIG', help='config file, or its name in configs/')
    parser.add_argument('checkpoint', metavar='CKPT', help='weights; must fit the model exactly')
    parser.add_argument('--tta', action='store_true', help='use tta_model and tta_pipeline')
    parser.add_argument('--out', type=Path, metavar='FILE.json', help='where the scores go')
    parser.add_argument(
        '--work-dir',
        metavar='DIR',
        help="where logs go (default: the config's work_dir, or else work_dirs/ and its name)",
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',  # the option may be repeated
        default=[],
        metavar='KEY=VALUE',
        help='change settings of the config, e.g. test_dataloader.batch_size=2 '
        'model.neck.interaction=None',
    )
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none')
    # older launchers pass the rank as an argument instead of in the environment
    parser.add_argument('--local_rank', '--local-rank', type=int, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def prepare_config(args: argparse.Namespace) -> 'Config':
    """Returns the config of the test.

    Raises:
        FileNotFoundError: If there is no such config or checkpoint.
        OSError: If --out cannot be written.
        ValueError: If the config lacks what the test needs, or if an argument decides what an
            option sets.
    """
    from mmdiffdis.apis.configs import load_config, refuse_decided
    from mmdiffdis.utils.files import check_writable
    from mmdiffdis.utils.shipped import shipped_models

    known = '://' in args.checkpoint or args.checkpoint in shipped_models()
    if not known and not Path(args.checkpoint).expanduser().is_file():
        raise FileNotFoundError(
            f'checkpoint {args.checkpoint} does not exist; expected a file, a URL or one of '
            f'{", ".join(shipped_models())}'
        )
    if args.out is not None:
        check_writable(args.out)
    needed = ['model', 'test_dataloader', 'test_evaluator', 'test_cfg']
    needed += ['tta_model', 'tta_pipeline'] if args.tta else []
    config = load_config(args.config, args.work_dir, args.cfg_options, needs=needed)
    decided = {'load_from': 'CKPT', 'resume': 'CKPT', 'launcher': '--launcher'}
    refuse_decided(args.cfg_options, decided | {'work_dir': args.work_dir and '--work-dir'})
    warn_of_unused_options(args)
    config.load_from, config.resume = args.checkpoint, False
    if args.tta:
        config.test_dataloader.dataset.pipeline = config.tta_pipeline
        config.model = dict(config.tta_model, module=config.model)
    return config


def warn_of_unused_options(args: argparse.Namespace) -> None:
    """Says which of the options change nothing in a test, which the training may share."""
    unused = []
    for option in args.cfg_options:
        key = option.partition('=')[0].partition('.')[0]
        if key in TRAINING_KEYS or (key.startswith('tta_') and not args.tta):
            unused.append(option)
    if unused:
        print(f'without effect on this test: --cfg-options {" ".join(unused)}', file=sys.stderr)


def describe(config: 'Config', args: argparse.Namespace, runner: 'Runner') -> dict:
    """Returns what the scores depend on, ready for JSON."""
    from mmdiffdis.models.tta import tta_record
    from mmdiffdis.utils.environment import versions

    segmentor = config.model.module if args.tta else config.model
    metrics = runner.test_loop.evaluator.metrics
    return {
        'config': args.config,
        'checkpoint': args.checkpoint,
        'images': len(runner.test_loop.dataloader.dataset),
        'protocol': [m.protocol_record() for m in metrics if hasattr(m, 'protocol_record')],
        'tta': tta_record(config.model, config.tta_pipeline) if args.tta else False,
        'seed': (segmentor.get('test_cfg') or {}).get('seed'),
        'pipeline': config.test_dataloader.dataset.get('pipeline'),
        'versions': versions(),
    }


def main(argv: list[str] | None = None) -> None:
    """Tests as the command line says."""
    args = parse_args(argv)

    import mmdiffdis  # noqa: F401, isort: skip - first, because it reports an unsuitable MMEngine

    from mmengine.dist import is_main_process
    from mmengine.runner import Runner

    from mmdiffdis.checkpoints import load_strictly
    from mmdiffdis.cli import RUN_ERRORS, one_line_errors
    from mmdiffdis.engine.launcher import set_launcher
    from mmdiffdis.utils.files import save_json
    from mmdiffdis.utils.memory import keep_freed_memory

    with one_line_errors():
        config = prepare_config(args)
        set_launcher(config, args.launcher, args.local_rank, training=False)
        runner = Runner.from_cfg(config)
        _ = runner.test_loop  # builds the data set, while mistakes are reported in one line
        load_strictly(runner, way_out='')  # a test has no use for a part
    keep_freed_memory()
    with one_line_errors(RUN_ERRORS):
        scores = runner.test()
    if args.out is not None and is_main_process():
        metrics = {name: float(value) for name, value in scores.items()}
        save_json({'metrics': metrics, **describe(config, args, runner)}, args.out)
        print(f'scores written to {args.out}')


if __name__ == '__main__':
    main()
    from mmdiffdis.engine.launcher import leave_process_group

    leave_process_group()  # when `main` has released the model
