"""Other segmentors for this task, on the same data, under the same measures.

Every module in this folder is imported and so registers its models: see docs/baselines.md.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f'{__name__}.{_module.name}')
