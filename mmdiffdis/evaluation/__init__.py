# Copyright (c) the mmdiffdis authors. Licensed under Apache-2.0.
"""Scoring of masks."""

from .dis_metric import DISMetric

__all__ = ['DISMetric']
