"""What is done to a prediction before it is measured: part of every figure."""

from collections.abc import Mapping

import numpy as np
from PIL import Image

# In the order in which it is done: to 8 bits, stretched, binarised.
PROTOCOLS = {
    # masks as they are saved, e.g. MVANet's script
    'soft': {'quantise': True, 'min_max': False, 'binarise': None},
    # what a user of hard masks gets
    'binary': {'quantise': True, 'min_max': False, 'binarise': 0.5},
    # as PySODMetrics does unless told not to, and with it much code for salient objects
    'pysodmetrics': {'quantise': True, 'min_max': True, 'binarise': None},
    # as the released DiffDIS script does before every measure
    'diffdis': {'quantise': True, 'min_max': True, 'binarise': 0.5},
}
# How a prediction comes to the size of its truth. Pillow's filters, in float; those but 'nearest'
# average over what they leave out when they make an image smaller.
RESIZE_RULES = {
    'nearest': Image.Resampling.NEAREST,
    'bilinear': Image.Resampling.BILINEAR,
    'bicubic': Image.Resampling.BICUBIC,
}
# A pixel of the truth is foreground where the soft mask exceeds this.
TRUTH_THRESHOLD = 0.5


def resolve_protocol(protocol: str | Mapping) -> tuple[str, dict]:
    """A protocol's name ('custom' for a mapping) and its complete settings.

    Args:
        protocol: a name out of ``PROTOCOLS``, or some of ``quantise``, ``min_max`` and
            ``binarise``; what is left out is as in ``'soft'``.

    Raises:
        ValueError: if the name or a key is unknown.
    """
    if isinstance(protocol, str):
        if protocol not in PROTOCOLS:
            raise ValueError(
                f"`protocol` is '{protocol}', expected one of {list(PROTOCOLS)} or a dict with "
                f'some of {list(PROTOCOLS["soft"])}.'
            )
        return protocol, dict(PROTOCOLS[protocol])
    unknown = [key for key in protocol if key not in PROTOCOLS['soft']]
    if unknown:
        raise ValueError(
            f'unknown key(s) {unknown} in `protocol`, expected some of {list(PROTOCOLS["soft"])}.'
        )
    return 'custom', {**PROTOCOLS['soft'], **protocol}


def protocol_text(record: Mapping) -> str:
    """One line for headers of tables.

    Args:
        record: ``protocol`` (the name) and all settings, maybe ``resize`` and others.

    Example:
        >>> protocol_text({'protocol': 'soft', **PROTOCOLS['soft']})
        "protocol 'soft' (quantise=True, min_max=False, binarise=None)"
    """
    keys = [*PROTOCOLS['soft'], 'resize']
    settings = ', '.join(f'{key}={record[key]}' for key in keys if key in record)
    return f"protocol '{record['protocol']}' ({settings})"


def apply_protocol(
    probability: np.ndarray, quantise: bool, min_max: bool, binarise: float | None
) -> np.ndarray:
    """float64 map in [0, 1] as the protocol hands it to the measures.

    Args:
        probability: [H, W] in [0, 1].
        quantise: whether to round to 8 bits, as a saved mask is.
        min_max: whether to stretch to [0, 1]; a constant map stays as it is.
        binarise: None, or the threshold that foreground exceeds.

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
    """float32 [H', W'] in [0, 1]: a prediction at its truth's size.

    Args:
        probability: [H, W] in [0, 1].
        shape: height and width.
        rule: a name out of ``RESIZE_RULES``.
    """
    image = Image.fromarray(probability.astype(np.float32))
    return np.clip(np.asarray(image.resize(shape[::-1], RESIZE_RULES[rule])), 0, 1)
