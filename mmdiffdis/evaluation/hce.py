"""Human correction effort (Qin et al., ECCV 2022): number of clicks needed to correct a mask."""

import cv2
import numpy as np

from .skeleton import skeletonize

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def human_correction_effort(
    found: np.ndarray, gt: np.ndarray, relax: int = 5, epsilon: float = 2.0
) -> int:
    """Returns the points of polygons along the borders of errors, plus one per isolated error.

    Ignores errors thinner than `relax` pixels along a correct border, unless they break the
    skeleton of the ground truth.

    Args:
        found: Binary prediction, bool [H, W].
        gt: bool [H, W].
        relax: Gamma of the paper, in pixels.
        epsilon: Largest distance of a polygon from its border (Douglas-Peucker), in pixels.

    Example:
        >>> gt = np.zeros((40, 40), bool)
        >>> gt[5:35, 5:35] = True
        >>> found = gt.copy()
        >>> found[10:30, 10:30] = False  # one click fills a hole
        >>> human_correction_effort(found, gt)
        1
    """
    left, top, width, height = cv2.boundingRect((found | gt).view(np.uint8))
    if width == 0:
        return 0
    # one more pixel on each side, because OpenCV continues the border beyond the window
    window = np.s_[max(0, top - 1) : top + height + 1, max(0, left - 1) : left + width + 1]
    found, gt = (np.ascontiguousarray(mask[window]).view(np.uint8) for mask in (found, gt))

    union, hits = found | gt, found & gt
    false_positives, missed = found ^ hits, gt ^ hits
    core = cv2.erode(union, _CROSS, iterations=relax)
    false_positives = false_positives & _grow(false_positives & core, 1 - gt, relax)
    skeleton = skeletonize(gt.view(bool)).view(np.uint8) if missed.any() else missed
    missed = missed & (_grow(missed & core, 1 - found, relax) | skeleton)
    return _effort(false_positives, beside=hits | missed, epsilon=epsilon) + _effort(
        missed, beside=1 - (hits | false_positives | missed), epsilon=epsilon
    )


def _grow(seed: np.ndarray, within: np.ndarray, steps: int) -> np.ndarray:
    """Returns the seed dilated `steps` times inside `within`; all are uint8 {0, 1} [H, W]."""
    for _ in range(steps):
        seed = cv2.dilate(seed, _CROSS) & within
    return seed


def _effort(wrong: np.ndarray, beside: np.ndarray, epsilon: float) -> int:
    """Returns the points of borders of `wrong` next to `beside`, plus regions without such points.

    Args:
        wrong: uint8 {0, 1} [H, W].
        beside: uint8 {0, 1} [H, W]; a border next to it has to be drawn by hand.
        epsilon: In pixels.
    """
    contours, _ = cv2.findContours(wrong, cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return 0
    points = np.concatenate(contours)  # [N, 1, 2], (x, y)
    columns, rows = points[:, 0].T
    drawn = cv2.dilate(beside, _CROSS)[rows, columns] > 0
    # a point on several contours counts on the first: of several assignments, the last one stays
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
    """Returns the drawn parts of a closed contour [N, 1, 2]; joins the last part with the first."""
    edges = np.flatnonzero(np.diff(drawn, prepend=False, append=False))
    runs = [contour[start:stop] for start, stop in edges.reshape(-1, 2)]
    if len(runs) > 1 and np.abs(runs[0][0] - runs[-1][-1]).max() == 1:
        # reversed, as in the authors' code
        runs[-1] = np.concatenate([runs[-1], runs.pop(0)[::-1]])
    return runs
