"""The configs of the package, each parsed once per process."""

from copy import deepcopy
from functools import cache
from pathlib import Path

from conftest import ROOT
from mmengine.config import Config

CONFIGS = ROOT / 'configs'
LEAVES = sorted(
    path for path in CONFIGS.rglob('*.py') if '_base_' not in path.relative_to(CONFIGS).parts
)
FULL_SIZE = CONFIGS / 'diffdis/diffdis_sd-turbo_1xb4-90e_dis5k-1024x1024.py'
TABLE_1 = CONFIGS / 'vae/vae_sd-turbo_dis5k-1024x1024.py'


@cache
def _parse(path: Path) -> Config:
    return Config.fromfile(path)


def load(path: Path) -> Config:
    """Returns a copy that the test may change."""
    return deepcopy(_parse(path))
