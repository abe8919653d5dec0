"""Other segmentors for this task, on the same data, under the same measures.

Every module in this folder is imported and so registers its models: see docs/baselines.md.
"""

from . import birefnet, genpercept, isnet, mvanet

__all__ = ['birefnet', 'genpercept', 'isnet', 'mvanet']
