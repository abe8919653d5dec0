"""Score a checkpoint on the test set of its config.

    python tools/test.py CONFIG CKPT [--tta] [--out FILE.json]

The JSON file holds the figures with everything that makes them what they are: the metric's
protocol, test-time augmentation, noise seed, test pipeline and versions.
"""

import argparse
import json
import math
import os
import platform
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.dist import is_main_process
from mmengine.runner import Runner

import mmdiffdis  # noqa: F401, mends and registers before anything is built

PACKAGES = (
    'mmdiffdis',
    'torch',
    'mmengine',
    'mmcv',
    'mmcv-lite',
    'mmsegmentation',
    'diffusers',
    'pysodmetrics',
    'numpy',
)


def parse_args(argv: list[str] | None = None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """The parser, for its `error`, and the arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='weights; must fit the model exactly')
    parser.add_argument('--tta', action='store_true', help='use tta_model and tta_pipeline')
    parser.add_argument('--out', type=Path, help='JSON file for the figures')
    parser.add_argument('--work-dir', help='folder for logs (default: work_dirs/<config name>)')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='changes to the config, KEY=VALUE ...'
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return parser, args


def load_config(args: argparse.Namespace) -> Config:
    """The config with the arguments merged in.

    Raises:
        FileNotFoundError: if there is no such config or checkpoint.
        ValueError: if the config lacks what is asked for.
    """
    is_url = '://' in args.checkpoint
    if not is_url and not Path(args.checkpoint).is_file():
        raise FileNotFoundError(f"the checkpoint '{args.checkpoint}' does not exist.")
    if args.out is not None and args.out.is_dir():
        raise ValueError(f"--out '{args.out}' is a folder, expected the name of a JSON file.")
    cfg = Config.fromfile(args.config)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    cfg.load_from = args.checkpoint
    cfg.resume = False

    needed = ['model', 'test_dataloader', 'test_evaluator', 'test_cfg']
    needed += ['tta_model', 'tta_pipeline'] if args.tta else []
    missing = [key for key in needed if cfg.get(key) is None]
    if missing:
        raise ValueError(f"the config '{args.config}' does not define {', '.join(missing)}.")
    if args.tta:
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
        cfg.model = dict(cfg.tta_model, module=cfg.model)
    return cfg


def describe(cfg: Config, args: argparse.Namespace, runner: Runner) -> dict:
    """What the figures depend on, ready for JSON."""
    segmentor = cfg.model.module if args.tta else cfg.model
    tta = False
    if args.tta:
        settings = {key: value for key, value in cfg.model.items() if key != 'module'}
        augmentations = [step for step in cfg.tta_pipeline if step['type'] == 'TestTimeAug']
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
        'pipeline': cfg.test_dataloader.dataset.get('pipeline'),
        'versions': {'python': platform.python_version(), **_versions()},
    }


def save_json(content: dict, path: Path) -> None:
    """Write `content` to `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        unfinished.write_text(json.dumps(content, indent=2, default=str) + '\n', encoding='utf-8')
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue  # mmcv or mmcv-lite; or not installed but run from the source folder
    return versions


def main(argv: list[str] | None = None) -> None:
    """Test and save the figures."""
    parser, args = parse_args(argv)
    try:
        cfg = load_config(args)
        runner = Runner.from_cfg(cfg)
        _ = runner.test_loop  # built here, so that a wrong data folder is one line and no traceback
    except (OSError, ValueError) as error:
        parser.error(str(error))
    # mmengine only warns when weights do not fit; figures of a half-loaded model are worse than
    # none
    runner.load_checkpoint = partial(runner.load_checkpoint, strict=True)
    figures = runner.test()
    if args.out is not None and is_main_process():
        metrics = {name: float(value) for name, value in figures.items()}
        save_json({'metrics': metrics, **describe(cfg, args, runner)}, args.out)
        print(f'figures written to {args.out}')


if __name__ == '__main__':
    main()
