"""Other segmentors of the same task, trained and tested on the same data by the same metrics.

Importing a baseline here registers its model; docs/baselines.md says how to add one.
"""

from . import (
    ben2,
    birefnet,
    bsanet,
    fpdis,
    genpercept,
    ifa,
    inspyrenet,
    isdnet,
    isnet,
    mvanet,
    pgnet,
    u2net,
    udun,
)

__all__ = [
    'ben2',
    'birefnet',
    'bsanet',
    'fpdis',
    'genpercept',
    'ifa',
    'inspyrenet',
    'isdnet',
    'isnet',
    'mvanet',
    'pgnet',
    'u2net',
    'udun',
]
