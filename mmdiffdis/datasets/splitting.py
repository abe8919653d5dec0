"""Which pictures of one folder are held out, so that none of their siblings is trained on."""

import hashlib
import logging
import re
from collections import defaultdict
from collections.abc import Sequence

from mmengine.logging import print_log

PARTS = ('train', 'val')
# A video's frames, or a burst's pictures: what stands before the last number of the stem.
_SERIES = re.compile(r'(.+?)[-_ .]*\d+')


def split_stems(stems: Sequence[str], val_share: float) -> dict[str, list[str]]:
    """'train' and 'val' -> stems, in their order; the same on every machine.

    Pictures whose stems differ only in their last number form a series, which is never divided: a
    model is not to be scored on neighbours of what it was trained on. If all are one series, single
    pictures are divided, and a warning says so.

    Args:
        stems: of the pictures.
        val_share: about how much of them to hold out, above 0 and below 1; one series at least.

    Raises:
        ValueError: `val_share` out of range, or less than two pictures.
    """
    if not 0 < val_share < 1 or len(stems) < 2:
        raise ValueError(
            f'{len(stems)} picture(s) to be split, val_share={val_share}: expected two pictures '
            'or more, and a share above 0 and below 1; part=None takes all of them'
        )
    series = _series_of(stems)
    # A hash's order is random, but no new picture changes the order of the old ones.
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


def _series_of(stems: Sequence[str]) -> dict[str, list[str]]:
    series = defaultdict(list)
    for stem in stems:
        match = _SERIES.fullmatch(stem)
        series[match[1] if match else stem].append(stem)
    if len(series) > 1:
        return series
    print_log(
        f'all {len(stems)} pictures look like one series ({stems[0]}, ...): single ones are held '
        'out. If they are frames of one video, the scores will be too good.',
        logger='current',
        level=logging.WARNING,
    )
    return {stem: [stem] for stem in stems}
