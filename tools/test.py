#!/usr/bin/env python
"""Scores a checkpoint on its config's test set: python tools/test.py CONFIG CKPT [--tta] ...

With `--out FILE.json`, the scores are saved with what they depend on: the metric's protocol,
test-time augmentation, noise seed, test pipeline and versions.
"""

import argparse
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner


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
        ValueError: If the config lacks what the test needs.
    """
    from mmdiffdis.apis.configs import load_config
    from mmdiffdis.utils.files import check_writable

    if '://' not in args.checkpoint and not Path(args.checkpoint).is_file():
        raise FileNotFoundError(f'checkpoint {args.checkpoint} does not exist')
    if args.out is not None:
        check_writable(args.out)
    config = load_config(args.config, args.work_dir, args.cfg_options)
    config.load_from, config.resume = args.checkpoint, False
    needed = ['model', 'test_dataloader', 'test_evaluator', 'test_cfg']
    needed += ['tta_model', 'tta_pipeline'] if args.tta else []
    missing = [key for key in needed if config.get(key) is None]
    if missing:
        raise ValueError(f'config {args.config} does not define {", ".join(missing)}')
    if args.tta:
        config.test_dataloader.dataset.pipeline = config.tta_pipeline
        config.model = dict(config.tta_model, module=config.model)
    return config


def load_strictly(runner: 'Runner', checkpoint: str) -> None:
    """Loads weights into the runner's model; MMEngine only warns if they do not fit.

    Raises:
        CheckpointError: If keys are missing or unexpected, or shapes differ.
    """
    from mmengine.runner import Runner

    from mmdiffdis.checkpoints import explain_misfits

    with explain_misfits(checkpoint):
        Runner.load_checkpoint(runner, checkpoint, strict=True)


def describe(config: 'Config', args: argparse.Namespace, runner: 'Runner') -> dict:
    """Returns what the scores depend on, ready for JSON."""
    from mmdiffdis.utils.environment import versions

    segmentor = config.model.module if args.tta else config.model
    tta = False
    if args.tta:
        settings = {key: value for key, value in config.model.items() if key != 'module'}
        augmentations = [step for step in config.tta_pipeline if step['type'] == 'TestTimeAug']
        passes = math.prod(len(choice) for step in augmentations for choice in step['transforms'])
        tta = {'passes': passes, **settings}
    metrics = runner.test_loop.evaluator.metrics
    return {
        'config': args.config,
        'checkpoint': args.checkpoint,
        'images': len(runner.test_loop.dataloader.dataset),
        'protocol': [m.protocol_record() for m in metrics if hasattr(m, 'protocol_record')],
        'tta': tta,
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

    from mmdiffdis.cli import RUN_ERRORS, one_line_errors
    from mmdiffdis.engine.launcher import set_launcher
    from mmdiffdis.utils.files import save_json

    with one_line_errors():
        config = prepare_config(args)
        set_launcher(config, args.launcher, args.local_rank)
        runner = Runner.from_cfg(config)
        _ = runner.test_loop  # builds the data set, while mistakes are reported in one line
    # called by the runner after its hooks are set up
    runner.load_checkpoint = partial(load_strictly, runner)
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
