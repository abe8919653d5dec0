"""Human correction effort (Qin et al., ECCV 2022): how many clicks would mend a mask."""

import cv2
import numpy as np

from .skeleton import skeletonize

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def human_correction_effort(
    found: np.ndarray, truth: np.ndarray, relax: int = 5, epsilon: float = 2.0
) -> int:
    """Points of the polygons around wrong regions, plus one for each region that is on its own.

    Errors thinner than ``relax`` beside a right border are forgiven, but for those that break the
    truth's skeleton.

    Args:
        found: bool [H, W], the binary prediction.
        truth: bool [H, W].
        relax: gamma of the paper, in pixels.
        epsilon: how far a polygon may be from its border (Douglas-Peucker), in pixels.
    """
    left, top, width, height = cv2.boundingRect((found | truth).view(np.uint8))
    if width == 0:
        return 0
    # one pixel more, for what is beyond the image is taken for the border's continuation
    window = np.s_[max(0, top - 1) : top + height + 1, max(0, left - 1) : left + width + 1]
    found, truth = (np.ascontiguousarray(mask[window]).view(np.uint8) for mask in (found, truth))

    union, hits = found | truth, found & truth
    invented, missed = found ^ hits, truth ^ hits
    core = cv2.erode(union, _CROSS, iterations=relax)
    invented = invented & _grow(invented & core, 1 - truth, relax)
    skeleton = skeletonize(truth.view(bool)).view(np.uint8) if missed.any() else missed
    missed = missed & (_grow(missed & core, 1 - found, relax) | skeleton)
    return _effort(invented, beside=hits | missed, epsilon=epsilon) + _effort(
        missed, beside=1 - (hits | invented | missed), epsilon=epsilon
    )


def _grow(seed: np.ndarray, within: np.ndarray, steps: int) -> np.ndarray:
    """The seed dilated step by step, never beyond ``within``; uint8 {0, 1}."""
    for _ in range(steps):
        seed = cv2.dilate(seed, _CROSS) & within
    return seed


def _effort(wrong: np.ndarray, beside: np.ndarray, epsilon: float) -> int:
    """Points on those borders of ``wrong`` that touch ``beside``, and regions that never do.

    Args:
        wrong: uint8 {0, 1} [H, W].
        beside: uint8 {0, 1} [H, W], where a border of ``wrong`` has to be drawn by hand.
        epsilon: in pixels.
    """
    contours, _ = cv2.findContours(wrong, cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return 0
    points = np.concatenate(contours)  # [N, 1, 2], (x, y)
    columns, rows = points[:, 0].T
    drawn = cv2.dilate(beside, _CROSS)[rows, columns] > 0
    # of a point on several contours, the first counts; the last assignment to an index stays
    pixels, order = rows * wrong.shape[1] + columns, np.arange(len(points))
    first = np.empty(wrong.size, np.int32)
    first[pixels[::-1]] = order[::-1]
    drawn &= first[pixels] == order

    regions, labels = cv2.connectedComponents(wrong, connectivity=8)
    touched = np.unique(labels[rows[drawn], columns[drawn]]).size
    effort = regions - 1 - touched  # without the background
    start = 0
    for contour in contours:
        stop = start + len(contour)
        for border in _runs(points[start:stop], drawn[start:stop]):
            effort += len(cv2.approxPolyDP(border, epsilon, False))
        start = stop
    return effort


def _runs(contour: np.ndarray, drawn: np.ndarray) -> list[np.ndarray]:
    """Stretches of a closed contour [N, 1, 2] that are drawn; the last goes on with the first."""
    edges = np.flatnonzero(np.diff(drawn, prepend=False, append=False))
    runs = [contour[start:stop] for start, stop in edges.reshape(-1, 2)]
    if len(runs) > 1 and np.abs(runs[0][0] - runs[-1][-1]).max() == 1:
        # reversed, as in the authors' code
        runs[-1] = np.concatenate([runs[-1], runs.pop(0)[::-1]])
    return runs
