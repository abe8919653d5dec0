"""Split of one folder into training and validation images that keeps series together."""

import hashlib
import logging
import re
from collections import defaultdict
from collections.abc import Sequence

from mmengine.logging import print_log

PARTS = ('train', 'val')
# Frames of a video or images of a burst share the text before the last number of the stem.
_SERIES = re.compile(r'(.+?)[-_ .]*\d+')


def split_stems(stems: Sequence[str], val_share: float) -> dict[str, list[str]]:
    """Divides stems into 'train' and 'val', in their order, the same on every machine.

    Images whose stems differ only in their last number form a series. A series is never divided,
    because scores on neighbours of training images would be too good. If all stems are one series,
    single images are held out, with a warning.

    Args:
        stems: Stems of the images.
        val_share: Approximate share to hold out, above 0 and below 1; at least one series.

    Raises:
        ValueError: If `val_share` is out of range or there are fewer than two images.
    """
    if not 0 < val_share < 1 or len(stems) < 2:
        raise ValueError(
            f'cannot split {len(stems)} image(s) with val_share={val_share}: expected two images '
            'or more and a share above 0 and below 1; part=None takes all images'
        )
    series = _group_by_series(stems)
    # The order of hashes is arbitrary, and new images do not change that of the old ones.
    order = sorted(series, key=lambda name: hashlib.blake2b(name.encode()).digest())
    limit, held_out = val_share * len(stems), []
    for name in order:
        if len(held_out) + len(series[name]) <= limit:
            held_out += series[name]
    held_out = {*held_out} or {*min((series[name] for name in order), key=len)}
    return {
        'train': [stem for stem in stems if stem not in held_out],
        'val': [stem for stem in stems if stem in held_out],
    }


def _group_by_series(stems: Sequence[str]) -> dict[str, list[str]]:
    series = defaultdict(list)
    for stem in stems:
        match = _SERIES.fullmatch(stem)
        series[match[1] if match else stem].append(stem)
    if len(series) > 1:
        return series
    print_log(
        f'all {len(stems)} images look like one series ({stems[0]}, ...), so single images are '
        'held out; if they are frames of one video, the scores will be too good',
        logger='current',
        level=logging.WARNING,
    )
    return {stem: [stem] for stem in stems}
