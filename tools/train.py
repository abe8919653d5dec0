#!/usr/bin/env python
"""Trains a model: python tools/train.py CONFIG [--work-dir DIR] [--resume [CHECKPOINT]] ..."""

import argparse
import sys
from pathlib import Path

OPTIONS = {
    path.stem: path
    for path in sorted(Path(__file__).resolve().parents[1].glob('configs/_base_/options/*.py'))
}
# Parts of a config that a training does not read; options for training and test may share a list.
TEST_KEYS = ('test_dataloader', 'test_cfg', 'test_evaluator', 'tta_model', 'tta_pipeline')


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description='Train a model.')
    parser.add_argument('config', metavar='CONFIG', help='config file, or name of one in configs/')
    parser.add_argument(
        '--work-dir',
        metavar='DIR',
        help='folder for logs and checkpoints (default: work_dir of the config, or '
        'work_dirs/<name of the config>)',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from a checkpoint, by default from the latest one in the work dir',
    )
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision: bfloat16, or float16 on older GPUs'
    )
    parser.add_argument(
        '--with',
        nargs='+',
        default=[],
        choices=OPTIONS,
        metavar='OPTION',
        dest='options',
        help=f'merge these of configs/_base_/options/ into the config: {", ".join(OPTIONS)}',
    )
    parser.add_argument('--seed', type=int, help='seed of the whole training')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',  # the option may be repeated
        default=[],
        metavar='KEY=VALUE',
        help='change settings of the config, e.g. train_dataloader.batch_size=2 '
        'model.neck.interaction=None',
    )
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none')
    # Older launchers pass the rank as an argument instead of in the environment.
    parser.add_argument('--local_rank', '--local-rank', type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def train(args: argparse.Namespace) -> None:
    """Trains a model as the command line says."""
    import mmdiffdis  # noqa: F401, isort: skip - first, it reports a missing or unsuitable MMEngine

    from mmengine.device import get_device
    from mmengine.registry import RUNNERS
    from mmengine.runner import Runner

    from mmdiffdis.apis.configs import load_config, refuse_decided
    from mmdiffdis.checkpoints import load_strictly
    from mmdiffdis.cli import RUN_ERRORS, one_line_errors
    from mmdiffdis.engine.launcher import set_launcher
    from mmdiffdis.engine.mixed_precision import check_mixed_precision, set_mixed_precision
    from mmdiffdis.engine.options import build_optimizer, check_length, check_optimizer
    from mmdiffdis.engine.resume import check_strategy, claim_work_dir, set_resume
    from mmdiffdis.utils.environment import check_compiler
    from mmdiffdis.utils.memory import keep_freed_memory

    with one_line_errors():
        decided = {
            'launcher': '--launcher',
            'randomness.seed': None if args.seed is None else '--seed',
            'resume': args.resume and '--resume',
            'work_dir': args.work_dir and '--work-dir',
        }
        refuse_decided(args.cfg_options, decided)
        config = load_config(
            args.config,
            args.work_dir,
            args.cfg_options,
            [OPTIONS[name] for name in args.options],
            needs=('model', 'train_dataloader', 'train_cfg', 'optim_wrapper'),
        )
        unused = [o for o in args.cfg_options if o.partition('=')[0].partition('.')[0] in TEST_KEYS]
        if unused:
            text = f'without effect on a training: --cfg-options {" ".join(unused)}'
            print(text, file=sys.stderr)
        set_launcher(config, args.launcher, args.local_rank)
        set_resume(config, args.resume)
        if args.seed is not None:
            config.randomness = dict(config.get('randomness', {}), seed=args.seed)
        if args.amp:
            set_mixed_precision(config, get_device())
        check_mixed_precision(config, get_device())
        check_length(config)
        check_optimizer(config)
        check_strategy(config)
        if config.get('compile'):
            check_compiler(get_device())
        claim = claim_work_dir(config)  # kept until the end
        # A strategy, such as FSDP, brings a runner of its own.
        build = RUNNERS.build if 'runner_type' in config else Runner.from_cfg
        runner = build(config)
        load_strictly(runner, config.get('load_partially', False))
        # Built here, so that mistakes are reported in one line.
        _ = runner.train_loop, runner.val_loop
        if isinstance(runner, Runner):
            build_optimizer(runner)
    keep_freed_memory()
    with one_line_errors(RUN_ERRORS):
        runner.train()
    if claim is not None:
        claim.close()


def main() -> None:
    """Parses the command line, trains and leaves the process group."""
    train(parse_args())

    from mmdiffdis.engine.launcher import leave_process_group

    leave_process_group()  # after `train` has released the model


if __name__ == '__main__':
    main()
