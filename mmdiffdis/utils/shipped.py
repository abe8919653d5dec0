"""Folders of the configs, tools and models that come with the package (standard library only)."""

import json
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
# An installed package holds them in a folder of its own, where OpenMMLab's `mim` looks as well.
_INSTALLED = _PACKAGE / '.mim'
ROOT = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent
CONFIGS = ROOT / 'configs'
SHIPPED_WEIGHTS = _PACKAGE / 'weights'


def shipped_models() -> dict[str, str]:
    """Returns the name of the config of each model whose weights are `mmdiffdis://` and its key."""
    return json.loads((SHIPPED_WEIGHTS / 'models.json').read_text(encoding='utf-8'))
