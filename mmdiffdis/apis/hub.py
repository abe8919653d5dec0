"""Repositories of Hugging Face's hub: a config as JSON, weights as safetensors, a model card.

Whoever loads a repository runs nothing that it contains. A config of Python is a program, and one
in JSON is not, but MMEngine imports what `custom_imports` lists, imports and calls what a `type`
names with dots, e.g. 'subprocess.run', and unpickles a loss's `class_weight` from a URL. So only
what predicting needs is read, only what is registered is built, and no text may name a file.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

import mmengine.registry
import mmseg.registry
import yaml
from huggingface_hub import ModelCard, ModelCardData, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from mmengine.config import Config
from mmengine.registry import Registry
from torch import nn

from ..checkpoints import save_weights
from ..evaluation.protocol import protocol_text
from ..utils.shipped import CONFIGS
from ..utils.tables import markdown
from .configs import image_transforms, walk, without_files

CONFIG_NAME = 'config.json'
WEIGHTS_NAME = 'model.safetensors'
CARD_NAME = 'README.md'

_KEYS = ('default_scope', 'model', 'test_pipeline')  # what is read of a config
_NAMES = set('./\\:')  # in names of files, URLs and modules
_CARD = Template("""# $name

$system, which segments the foreground object of an image as a soft mask; $size M parameters.

```python
from mmdiffdis.apis import DISInferencer

inferencer = DISInferencer.from_pretrained('$name')
inferencer('photo.jpg').mask  # float32 [H, W] in [0, 1]
```

## Scores

$scores

## Licence

Weights: $license. $origin
""")


def save_repository(
    folder: Path,
    name: str,
    model: nn.Module,
    config: Config,
    license: str,
    scores: str | Path | None,
) -> None:
    """Writes config, weights and model card to a folder.

    Args:
        folder: Where they go; it is made if needed.
        name: Name of the repository, on its card.
        model: Model, whose weights are written in the precision that it has.
        config: Its config.
        license: Licence of the weights, as the hub names it.
        scores: JSON file that `test.py --out` wrote, or None.

    Raises:
        FileExistsError: If the folder holds one of the files.
        ValueError: If the config has a part that could not be loaded, or the scores are of another
            kind.
    """
    for file in (CONFIG_NAME, WEIGHTS_NAME, CARD_NAME):
        if (folder / file).exists():
            raise FileExistsError(f"'{folder / file}' exists: choose another folder, or remove it")
    content = portable(config)
    refuse_code(content)
    stem = Path(config.filename or '').stem
    card = ModelCardData(
        license=license,
        library_name='mmdiffdis',
        pipeline_tag='image-segmentation',
        tags=['mmsegmentation', 'dichotomous-image-segmentation', 'background-removal'],
    )
    text = _CARD.substitute(
        name=name,
        system=f'`{stem or type(model).__name__}` of mmdiffdis',
        size=f'{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.2f}',
        scores=_describe_scores(scores) if scores else 'None were given.',
        license=license,
        origin=_describe_origin(stem),
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_NAME).write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
    save_weights(model, folder / WEIGHTS_NAME, metadata={'format': 'pt'})
    ModelCard(f'---\n{card}\n---\n\n{text}').save(folder / CARD_NAME)


def load_repository(name: str | Path, revision: str | None) -> tuple[dict[str, Any], Path]:
    """Returns the config and the path of the weights in a folder or a repository of the hub.

    Raises:
        FileNotFoundError: If there is no such folder or repository, or a file is missing there.
        ValueError: If the config is another library's, would run code, or a folder has a revision.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        try:
            files = [CONFIG_NAME, WEIGHTS_NAME]
            folder = Path(snapshot_download(str(name), revision=revision, allow_patterns=files))
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
            raise FileNotFoundError(
                f"'{name}' is neither a folder nor a repository of the hub that can be read: "
                f'{" ".join(str(error).split())}'
            ) from error
    elif revision:
        raise ValueError(f"revision={revision!r}: '{name}' is a folder, which has none")
    for file in (CONFIG_NAME, WEIGHTS_NAME):
        if not (folder / file).is_file():
            raise FileNotFoundError(
                f"'{name}' has no {file}: expected what save_pretrained wrote; configs of Python, "
                'which are programs, are not read'
            )
    content = json.loads((folder / CONFIG_NAME).read_text(encoding='utf-8'))
    if not isinstance(content, dict) or not {'model', 'test_pipeline'} <= content.keys():
        raise ValueError(
            f"{CONFIG_NAME} of '{name}' is no config of mmdiffdis: expected a model and a "
            'test_pipeline'
        )
    config = {key: content[key] for key in _KEYS if key in content}
    refuse_code(config)
    return config, folder / WEIGHTS_NAME


def portable(config: Config) -> dict[str, Any]:
    """Returns what predicting needs of a config, without names of files."""
    kept = {key: config[key] for key in ('default_scope', 'custom_imports') if key in config}
    parts = {'model': without_files(config.model), 'test_pipeline': image_transforms(config)}
    return Config({**kept, **parts}).to_dict()


def refuse_code(config: Mapping[str, Any]) -> None:
    """Raises ValueError for what would be imported by its name, or read from a file or URL."""
    known = {
        name
        for registries in (mmengine.registry, mmseg.registry)
        for registry in vars(registries).values()
        if isinstance(registry, Registry)
        for name in registry.module_dict
    }
    for path, value in walk({key: config[key] for key in _KEYS if key in config}):
        key = path.rpartition('.')[2]
        if key in ('default_scope', '_scope_') and value != 'mmseg':
            raise ValueError(f"{path}={value!r}: expected 'mmseg'")
        if key == 'type' and not (isinstance(value, str) and value in known):
            raise ValueError(
                f'{path}={value!r}: expected a registered name, as anything else would be imported '
                'and run; import the package that registers yours first'
            )
        if isinstance(value, str) and not _NAMES.isdisjoint(value):
            raise ValueError(
                f'{path}={value!r}: expected a word, as names of files, URLs and modules would be '
                'followed; give the values themselves'
            )


def _describe_scores(path: str | Path) -> str:
    record = json.loads(Path(path).read_text(encoding='utf-8'))
    if not isinstance(record, dict) or not {'metrics', 'protocol', 'tta', 'seed'} <= record.keys():
        raise ValueError(f"scores='{path}': expected a file that test.py --out wrote")
    header = ['metric', 'score']
    table = markdown(header, [(name, f'{score:.4f}') for name, score in record['metrics'].items()])
    passes = 'with test-time augmentation' if record['tta'] else 'one pass'
    protocols = '; '.join(map(protocol_text, record['protocol']))
    settings = f'{record["images"]} images, {passes}, seed {record["seed"]}'
    return f'{settings}; {protocols}, by `{Path(record["config"]).stem}`.\n\n{table}'


def _describe_origin(stem: str) -> str:
    """Returns paper and code of the system whose config in `configs/` has this name, or ''."""
    for file in CONFIGS.glob('*/metafile.yml'):
        content = yaml.safe_load(file.read_text(encoding='utf-8'))
        for model in content['Models']:
            if model['Name'] == stem:
                (system,) = (
                    c for c in content['Collections'] if c['Name'] == model['In Collection']
                )
                paper, code = system['Paper'], system['Code']
                return (
                    f'{system["Name"]}: [{paper["Title"]}]({paper["URL"]}); '
                    f'[code]({code["URL"]}) under {system["License"]}.'
                )
    return ''
