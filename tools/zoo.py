#!/usr/bin/env python
"""Lists the models: python tools/zoo.py [NAME]

Without NAME, the models that come with the package and the systems that have configs. NAME, of any
of these, shows licences, what was verified, and configs.
"""

import argparse
import os
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]  # or an installed package's folder `.mim`
SCHEME = 'mmdiffdis://'


def read_zoo() -> list[dict[str, Any]]:
    """Returns the systems, as their metafiles describe them, each with its models."""
    systems = []
    for path in _read('model-index.yml')['Import']:
        content = _read(path)
        (system,) = content['Collections']
        systems.append({**system, 'Models': content['Models']})
    return systems


def _read(path: str) -> Any:
    loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)  # the first is several times faster
    return yaml.load((ROOT / path).read_text(encoding='utf-8'), loader)


def short_name(model: dict[str, Any]) -> str:
    """Returns the name that stands for config and weights of a model of the package, or ''."""
    weights = model.get('Weights', '')
    return weights.removeprefix(SCHEME) if weights.startswith(SCHEME) else ''


def overview(systems: list[dict[str, Any]]) -> str:
    """Returns the list of all models and systems."""
    models = [
        (short_name(model), model['Name'], licence_of(system, model))
        for system in systems
        for model in system['Models']
        if short_name(model)
    ]
    rows = [
        (system['Name'], system['License'], system['Metadata']['Verified']) for system in systems
    ]
    return '\n'.join(
        [
            'Weights in this package: config, licence of the weights',
            *_table(models),
            '\nSystems with configs: licence of the code, what was verified',
            *_table(rows),
            '\nzoo NAME shows the configs and licences of a system, or a model.',
        ]
    )


def licence_of(system: dict[str, Any], model: dict[str, Any]) -> str:
    """Returns the licence of the weights of a model."""
    return {**system['Metadata'], **model.get('Metadata', {})}['Weights License']


def describe(system: dict[str, Any], model: dict[str, Any] | None = None) -> str:
    """Returns what the zoo knows of a system and its configs, or of one of its models."""
    facts = {
        'System': system['Name'],
        'Paper': system['Paper']['Title'],
        'Code': system['Code']['URL'],
        'Code License': system['License'],
        **system['Metadata'],
        'README': system['README'],
    }
    if model is None:
        configs = [(each['Name'], short_name(each)) for each in system['Models']]
        return '\n'.join([*_table(facts.items()), 'Configs', *_table(configs)])
    facts = {'Config': model['Config'], 'Weights': model.get('Weights', 'none here'), **facts}
    facts |= model.get('Metadata', {})
    for result in model.get('Results', []):
        scores = ', '.join(f'{name} {score}' for name, score in result['Metrics'].items())
        facts['Scores'] = f'{scores} ({result["Dataset"]})'
    return '\n'.join(_table(facts.items()))


def _table(rows: Iterable[tuple[str, str | list[str]]]) -> list[str]:
    texts = [[cell if isinstance(cell, str) else ', '.join(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return ['  ' + '  '.join(map(str.ljust, text, widths)).rstrip() for text in texts]


def find(name: str, systems: list[dict[str, Any]]) -> str:
    """Returns the description of a system, a config or a model of the package.

    Raises:
        LookupError: If there is none of this name.
    """
    known: dict[str, tuple] = {}
    for system in systems:
        for model in system['Models']:
            known[model['Name'].lower()] = known[short_name(model)] = (system, model)
        known[system['Name'].lower()] = (system,)
    known.pop('')  # of models without weights here
    if name.lower() not in known:
        near = get_close_matches(name.lower(), known, n=3, cutoff=0.4)
        hint = f'; did you mean {" or ".join(near)}?' if near else '; `zoo` alone lists them'
        raise LookupError(f"'{name}': expected a system, a config or a model{hint}")
    return describe(*known[name.lower()])


def main() -> None:
    """Prints the zoo."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('name', nargs='?', metavar='NAME', help='a system, a config or a model')
    name = parser.parse_args().name
    systems = read_zoo()
    try:
        print(overview(systems) if name is None else find(name, systems), flush=True)
    except BrokenPipeError:  # the reader, e.g. `| head`, has enough; Python would try again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except LookupError as error:
        sys.exit(f'{Path(sys.argv[0]).name}: error: {error}')


if __name__ == '__main__':
    main()
