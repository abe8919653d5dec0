"""Other segmentors of the same task, trained and tested on the same data by the same metrics.

Importing a baseline here registers its model; docs/baselines.md says how to add one.
"""

from . import birefnet, genpercept, isnet, mvanet, pgnet, u2net, udun

__all__ = ['birefnet', 'genpercept', 'isnet', 'mvanet', 'pgnet', 'u2net', 'udun']
