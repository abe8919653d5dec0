"""Scoring of masks."""

from .dis_metric import DISMetric

__all__ = ['DISMetric']
