"""Skeletons of masks, one pixel wide."""

import cv2
import numpy as np

# A pixel's eight neighbours, clockwise from the one above: (down, right).
_NEIGHBOURS = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
# Where scikit-image, on which all figures of human correction effort rest, is not as the paper has
# it (ends of lines and corners of diagonal ones): whether the pixel goes in the odd, even passes.
_EXCEPTIONS = {
    (True, True): (5, 20, 65, 80),
    (True, False): (3, 6, 7, 67, 97, 99, 129, 133, 193, 208),
    (False, True): (12, 13, 28, 48, 52, 54, 88, 96, 112),
    (False, False): (24, 192),
}


def _removable() -> np.ndarray:
    """bool [2, 256]: whether a pixel goes in the odd and even passes, by its neighbours' bits.

    Conditions (a) to (d) of Zhang and Suen, CACM 27(3), 1984, but for the exceptions above.
    """
    present = (np.arange(256)[:, None] >> np.arange(8)) & 1  # [256, 8], clockwise
    count = present.sum(axis=1)
    begins = ((present == 0) & (np.roll(present, -1, axis=1) == 1)).sum(axis=1)
    border = (count >= 2) & (count <= 6) & (begins == 1)
    above, right, below, left = (present[:, i] for i in (0, 2, 4, 6))
    odd = (above * right * below == 0) & (right * below * left == 0)
    even = (above * right * left == 0) & (above * below * left == 0)
    removable = np.stack([border & odd, border & even])
    for passes, patterns in _EXCEPTIONS.items():
        removable[:, patterns] = np.array(passes)[:, None]
    return removable


_REMOVABLE = _removable()
_REMOVABLE_EVER = _REMOVABLE.any(axis=0)


def skeletonize(mask: np.ndarray) -> np.ndarray:
    """bool [H, W]: the skeleton of a bool mask by Zhang and Suen's thinning.

    Equal to scikit-image's. Instead of the whole image, each pass looks at the pixels that have
    lost a neighbour since they were looked at, so that the time grows with the mask's area and not
    with its thickness.
    """
    padded = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), np.uint8)
    padded[1:-1, 1:-1] = mask
    weights = np.zeros((3, 3), np.float32)
    for bit, (down, right) in enumerate(_NEIGHBOURS):
        weights[1 + down, 1 + right] = 1 << bit
    neighbours = cv2.filter2D(padded, -1, weights, borderType=cv2.BORDER_CONSTANT).ravel()
    steps = [down * padded.shape[1] + right for down, right in _NEIGHBOURS]
    present = padded.ravel()
    serial = np.zeros(present.size, np.int32)

    changed = np.flatnonzero(present & _REMOVABLE_EVER[neighbours])
    earlier = changed
    idle = 0
    while idle < 2:
        for removable in _REMOVABLE:
            candidates = np.concatenate([earlier, changed])
            gone = candidates[removable[neighbours[candidates]] & (present[candidates] > 0)]
            order = np.arange(gone.size, dtype=np.int32)
            serial[gone] = order
            gone = gone[serial[gone] == order]  # each once
            present[gone] = 0
            # the neighbour in a direction has this pixel in the opposite one
            for bit, step in enumerate(steps):
                neighbours[gone + step] &= np.uint8(255 ^ (1 << (bit + 4) % 8))
            around = np.concatenate([gone + step for step in steps])
            around = around[(present[around] > 0) & _REMOVABLE_EVER[neighbours[around]]]
            earlier, changed = changed, around
            idle = 0 if gone.size else idle + 1
    return padded[1:-1, 1:-1].astype(bool)
