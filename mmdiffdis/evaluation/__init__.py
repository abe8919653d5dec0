"""Metrics of dichotomous image segmentation, evaluation protocols and reports."""

from .dis_metric import DISMetric
from .metrics import (
    LOWER_IS_BETTER,
    MEASURES,
    PAPER_MEASURES,
    Scores,
    check_measures,
    measure_image,
    summarise,
)
from .protocol import PROTOCOLS, RESIZE_RULES, apply_protocol, protocol_text, resolve_protocol

__all__ = [
    'LOWER_IS_BETTER',
    'MEASURES',
    'PAPER_MEASURES',
    'PROTOCOLS',
    'RESIZE_RULES',
    'DISMetric',
    'Scores',
    'apply_protocol',
    'check_measures',
    'measure_image',
    'protocol_text',
    'resolve_protocol',
    'summarise',
]
