#!/usr/bin/env python
"""Trains a model: python tools/train.py CONFIG [--work-dir DIR] [--resume [CHECKPOINT]] ..."""

import argparse
import logging
import re
from pathlib import Path

import mmdiffdis  # noqa: F401, isort: skip - first, for it reports a missing or unsuitable MMEngine

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmdiffdis.apis.configs import load_config
from mmdiffdis.checkpoints import CheckpointError, is_whole
from mmdiffdis.cli import RUN_ERRORS, add_config_arguments, one_line_errors
from mmdiffdis.engine.launcher import leave_process_group, set_launcher

OPTIONS = {
    path.stem: path
    for path in sorted(Path(__file__).resolve().parents[1].glob('configs/_base_/options/*.py'))
}


def parse_args() -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(description='Train a model.')
    parser.add_argument('config', metavar='CONFIG', help='config file')
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
    parser.add_argument('--seed', type=int, help='seed of everything random')
    add_config_arguments(parser)
    return parser.parse_args()


def latest_checkpoint(work_dir: str) -> str | None:
    """The checkpoint that MMEngine noted as its last, or else the furthest one, or None.

    The note is missing if the process was killed while writing it, and wrong if the folder was
    moved, or was given relative to another one. Damaged checkpoints are passed over with a warning.

    Raises:
        CheckpointError: There are checkpoints, but all are damaged.
    """
    steps = {
        path: int(path.stem.split('_')[1])
        for path in Path(work_dir).glob('*.pth')
        if re.fullmatch(r'(iter|epoch)_\d+', path.stem)
    }
    candidates = sorted(steps, key=steps.get, reverse=True)
    note = Path(work_dir, 'last_checkpoint')
    if note.is_file() and (noted := Path(note.read_text().strip())).is_file():
        candidates = [noted, *(path for path in candidates if not path.samefile(noted))]
    for path in candidates:
        if is_whole(path):
            return str(path)
        print_log(
            f'{path} is truncated or damaged: going back to the checkpoint before it.',
            logger='current',
            level=logging.WARNING,
        )
    if candidates:
        raise CheckpointError(
            f'cannot resume: every checkpoint in {work_dir} is truncated or damaged; name another '
            'one (--resume CHECKPOINT), or train afresh without --resume.'
        )
    return None


def set_resume(config: Config, resume: str | None) -> None:
    """Makes `config` continue from `resume`; 'auto' stands for the latest checkpoint, if any.

    'auto' is also what a config's own `resume = True` means.

    Raises:
        FileNotFoundError: `resume` is a path where nothing is.
        ValueError: It holds weights, but no training state.
    """
    if resume is None and config.get('resume') and not config.get('load_from'):
        resume = 'auto'
    if resume is None:
        return
    if resume == 'auto':
        resume = latest_checkpoint(config.work_dir)
        if resume is None:
            print_log(f'Nothing to resume from in {config.work_dir}: training starts afresh.')
            config.resume = False
            return
    if not Path(resume).is_file():
        raise FileNotFoundError(
            f'cannot resume: checkpoint {resume} does not exist; expected a .pth file.'
        )
    if resume.endswith('.safetensors'):
        raise ValueError(
            f'cannot resume from {resume}, which holds weights but no training state; '
            f'to start with its weights: --cfg-options load_from={resume}.'
        )
    # MMEngine resumes from load_from, if that is set, and not from the work dir.
    config.resume, config.load_from = True, resume


def set_mixed_precision(config: Config) -> None:
    """Makes `config` train in bfloat16, whose range is float32's; SD's VAE overflows float16.

    Raises:
        ValueError: The config's optimizer wrapper is one of its own kind.
    """
    wrapper = config.optim_wrapper
    kind = wrapper.get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise ValueError(f'--amp takes the place of OptimWrapper, but the config uses {kind}.')
    if get_device() == 'cpu':
        wrapper.type = 'BFloat16OptimWrapper'
        return
    wrapper.type = 'AmpOptimWrapper'
    bfloat16 = not torch.cuda.is_available() or torch.cuda.is_bf16_supported()
    wrapper.setdefault('dtype', 'bfloat16' if bfloat16 else 'float16')


def check_strategy(config: Config) -> None:
    """Returns if what `config` combines with a runner of strategies can be resumed.

    Raises:
        ValueError: It cannot.
    """
    hooks = [*config.get('default_hooks', {}).values(), *config.get('custom_hooks', [])]
    if 'runner_type' in config and any(hook and hook['type'] == 'EMAHook' for hook in hooks):
        raise ValueError(
            f'EMAHook does not resume under {config.runner_type}, which loads before the hook '
            'has made its copy of the weights: train without EMA, or without `strategy`.'
        )


def main() -> None:
    """Trains as the command line says."""
    args = parse_args()
    with one_line_errors():
        config = load_config(
            args.config, args.work_dir, args.cfg_options, [OPTIONS[name] for name in args.options]
        )
        set_launcher(config, args.launcher, args.local_rank)
        set_resume(config, args.resume)
        if args.seed is not None:
            config.randomness = dict(config.get('randomness', {}), seed=args.seed)
        if args.amp:
            set_mixed_precision(config)
        if get_device() == 'cpu' and config.optim_wrapper.get('type') == 'AmpOptimWrapper':
            raise ValueError(
                'AmpOptimWrapper needs a GPU, and there is none; --amp trains in bfloat16 on a CPU.'
            )
        check_strategy(config)
        # A strategy, such as FSDP, brings a runner of its own.
        build = RUNNERS.build if 'runner_type' in config else Runner.from_cfg
        runner = build(config)
        # Build the loops, and with them the datasets, where a mistake still gives a short answer.
        _ = runner.train_loop, runner.val_loop
    with one_line_errors(RUN_ERRORS):
        runner.train()


if __name__ == '__main__':
    main()
    leave_process_group()
