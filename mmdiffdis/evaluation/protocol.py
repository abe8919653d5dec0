"""Evaluation protocol: quantise, stretch, binarise."""

from collections.abc import Mapping

import numpy as np
from PIL import Image

# In the order of application: rounding to 8 bits, stretching, binarising.
PROTOCOLS = {
    # masks as they are saved, e.g. MVANet's script
    'soft': {'quantise': True, 'min_max': False, 'binarise': None},
    # hard masks
    'binary': {'quantise': True, 'min_max': False, 'binarise': 0.5},
    # default of PySODMetrics, and so of much code for salient objects
    'pysodmetrics': {'quantise': True, 'min_max': True, 'binarise': None},
    # the released DiffDIS script
    'diffdis': {'quantise': True, 'min_max': True, 'binarise': 0.5},
}
# How predictions are resized to the ground truth's size. Pillow's filters, in float; all but
# 'nearest' average when they make an image smaller.
RESIZE_RULES = {
    'nearest': Image.Resampling.NEAREST,
    'bilinear': Image.Resampling.BILINEAR,
    'bicubic': Image.Resampling.BICUBIC,
}
# A pixel of the ground truth is foreground where the soft mask is above this.
TRUTH_THRESHOLD = 0.5


def resolve_protocol(protocol: str | Mapping) -> tuple[str, dict]:
    """Returns the name ('custom' for a mapping) and the complete settings of a protocol.

    Args:
        protocol: A name from `PROTOCOLS`, or some of `quantise`, `min_max` and `binarise`; the
            others are as in `'soft'`.

    Raises:
        ValueError: If the name or a key is unknown.
    """
    keys = list(PROTOCOLS['soft'])
    if isinstance(protocol, str):
        if protocol not in PROTOCOLS:
            raise ValueError(
                f'protocol={protocol!r}: expected one of {list(PROTOCOLS)} or a dict with some of '
                f'{keys}'
            )
        return protocol, dict(PROTOCOLS[protocol])
    if unknown := [key for key in protocol if key not in keys]:
        raise ValueError(f'unknown key(s) {unknown} in protocol: expected some of {keys}')
    return 'custom', {**PROTOCOLS['soft'], **protocol}


def protocol_text(record: Mapping) -> str:
    """Returns one line for headers of tables.

    Args:
        record: `protocol` (the name) and all settings; `resize` is included if present.

    Example:
        >>> protocol_text({'protocol': 'soft', **PROTOCOLS['soft']})
        "protocol 'soft' (quantise=True, min_max=False, binarise=None)"
    """
    keys = [*PROTOCOLS['soft'], 'resize']
    settings = ', '.join(f'{key}={record[key]}' for key in keys if key in record)
    return f"protocol '{record['protocol']}' ({settings})"


def describe_empty(count: int) -> str:
    """Returns what to know of scores of `count` images whose ground truth has no foreground."""
    return f'{count} ground truth(s) without foreground, for which maxF and wF are 0'


def apply_protocol(
    probability: np.ndarray, quantise: bool, min_max: bool, binarise: float | None
) -> np.ndarray:
    """Returns the prediction that is scored, float64 [H, W] in [0, 1].

    Args:
        probability: [H, W] in [0, 1].
        quantise: Whether to round to 8 bits, as in a saved mask.
        min_max: Whether to stretch to [0, 1]; a constant map does not change.
        binarise: Threshold above which a pixel is foreground; None keeps a soft mask.

    Example:
        >>> apply_protocol(np.array([[0.2, 0.4]]), quantise=False, min_max=True, binarise=None)
        array([[0., 1.]])
    """
    probability = probability.astype(np.float64)
    if quantise:
        probability = np.rint(probability * 255) / 255
    if min_max and probability.max() > probability.min():
        low, high = probability.min(), probability.max()
        probability = (probability - low) / (high - low)
    if binarise is not None:
        probability = (probability > binarise).astype(np.float64)
    return probability


def resize_prediction(probability: np.ndarray, shape: tuple[int, int], rule: str) -> np.ndarray:
    """Returns a prediction at the ground truth's size, float32 [H', W'] in [0, 1].

    Args:
        probability: [H, W] in [0, 1].
        shape: Height and width of the ground truth.
        rule: A name from `RESIZE_RULES`.
    """
    image = Image.fromarray(probability.astype(np.float32))
    return np.clip(np.asarray(image.resize(shape[::-1], RESIZE_RULES[rule])), 0, 1)
