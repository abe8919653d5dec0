"""Geometry and rasteriser of the synthetic set: vector strokes to soft masks.

A shape is a list of `Stroke`: filled polygons and lines in any units, x to the right and y down.
`place` rotates it, projects it in perspective and fits it into the image; `rasterise` paints it at
`SUPERSAMPLE` times the size; `area_average` reduces it to soft coverage at image size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

# 4 x 4 samples per pixel: 17 grey levels on an edge.
SUPERSAMPLE = 4
# Thinner lines would have no pixel that is covered completely.
MIN_WIDTH_PIXELS = 2.0


@dataclass(frozen=True)
class Stroke:
    """A painted element of a shape.

    Attributes:
        points: Corners [N, 2], x right, y down.
        width: Line width in the units of the points; 0 fills the polygon.
        part: Material number from 1; 0 cuts a hole into earlier strokes.
        closed: Whether a line returns to its first point.
        inside: Whether it paints only over earlier strokes (a pattern on a surface).
    """

    points: np.ndarray
    width: float = 0.0
    part: int = 1
    closed: bool = False
    inside: bool = False


Shape = list[Stroke]


def line(*points: Sequence[float], width: float, part: int = 1) -> Stroke:
    """Returns an open line through the points."""
    return Stroke(np.asarray(points, np.float64), width, part)


def ring(points: np.ndarray, width: float, part: int = 1) -> Stroke:
    """Returns a closed line through the points [N, 2]."""
    return Stroke(np.asarray(points, np.float64), width, part, closed=True)


def fill(points: np.ndarray, part: int = 1, inside: bool = False) -> Stroke:
    """Returns a filled polygon with corners [N, 2]."""
    return Stroke(np.asarray(points, np.float64), 0.0, part, inside=inside)


def cut(points: np.ndarray) -> Stroke:
    """Returns a hole with corners [N, 2]."""
    return fill(points, part=0)


def arc(
    x: float,
    y: float,
    radius_x: float,
    radius_y: float | None = None,
    start: float = 0.0,
    stop: float = 2 * np.pi,
    samples: int = 48,
) -> np.ndarray:
    """Returns points [samples, 2] of an ellipse, clockwise between two angles in radians."""
    full = abs(stop - start) >= 2 * np.pi - 1e-6
    angle = np.linspace(start, stop, samples, endpoint=not full)
    height = radius_x if radius_y is None else radius_y
    return np.stack([x + radius_x * np.cos(angle), y + height * np.sin(angle)], axis=1)


def box(left: float, top: float, right: float, bottom: float, radius: float = 0.0) -> np.ndarray:
    """Returns the outline of a rectangle whose corners are rounded by `radius`."""
    if radius <= 0:
        return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)
    centres = [(right, top, -0.5), (right, bottom, 0), (left, bottom, 0.5), (left, top, 1)]
    sign = {right: -1, left: 1, top: 1, bottom: -1}
    return np.concatenate(
        [
            arc(
                x + sign[x] * radius,
                y + (radius if y == top else -radius),
                radius,
                None,
                start * np.pi,
                (start + 0.5) * np.pi,
                8,
            )
            for x, y, start in centres
        ]
    )


def spline(points: Sequence[Sequence[float]] | np.ndarray, closed: bool = False) -> np.ndarray:
    """Returns a Catmull-Rom spline through the points, 8 samples per span."""
    knots = np.asarray(points, np.float64)
    if closed:
        padded = np.concatenate([knots[-1:], knots, knots[:2]])
    else:
        padded = np.concatenate([knots[:1], knots, knots[-1:]])
    before, start, end, after = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    t = np.linspace(0, 1, 8, endpoint=False)[None, :, None]
    before, start, end, after = (part[:, None] for part in (before, start, end, after))
    curve = 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, knots[-1:]])


def outline(
    rng: np.random.Generator, waves: int, roughness: float, samples: int = 160
) -> np.ndarray:
    """Returns a closed random curve [samples, 2] around the origin, radius about 1."""
    angle = np.linspace(0, 2 * np.pi, samples, endpoint=False)
    order = np.arange(2, waves + 2)
    phase = rng.uniform(0, 2 * np.pi, waves)
    size = rng.normal(0, roughness, waves) / np.sqrt(order)
    radius = np.exp((size[:, None] * np.cos(order[:, None] * angle + phase[:, None])).sum(axis=0))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def limb(points: np.ndarray, widths: Sequence[float] | np.ndarray, part: int = 1) -> Stroke:
    """Returns a filled band along a curve [N, 2]; its `widths` are resampled to N."""
    points = np.asarray(points, np.float64)
    widths = np.interp(
        np.linspace(0, 1, len(points)), np.linspace(0, 1, len(widths)), np.asarray(widths)
    )
    tangent = np.gradient(points, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9
    offset = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1) * widths[:, None] / 2
    first, last = np.arctan2(*tangent[0][::-1]), np.arctan2(*tangent[-1][::-1])
    half = np.pi / 2
    tip = arc(*points[-1], widths[-1] / 2, None, last + half, last - half, 7)
    tail = arc(*points[0], widths[0] / 2, None, first - half, first - 3 * half, 7)
    return fill(np.concatenate([points + offset, tip, (points - offset)[::-1], tail]), part)


def project(points: np.ndarray, yaw: float, pitch: float, distance: float = 5.0) -> np.ndarray:
    """Projects points [..., 3] (x right, y down, z away from the camera) to [..., 2].

    Args:
        points: Points within about 1 of the origin.
        yaw: Rotation of the object about the vertical axis in radians.
        pitch: Elevation of the camera in radians.
        distance: Distance of the camera from the origin; small means strong perspective.
    """
    x, y, z = np.moveaxis(np.asarray(points, np.float64), -1, 0)
    x, z = x * np.cos(yaw) - z * np.sin(yaw), x * np.sin(yaw) + z * np.cos(yaw)
    y, z = y * np.cos(pitch) - z * np.sin(pitch), y * np.sin(pitch) + z * np.cos(pitch)
    return np.stack([x, y], axis=-1) * (distance / (distance + z))[..., None]


def bounds(shape: Shape) -> np.ndarray:
    """Returns the least and greatest (x, y) of a shape's points, [2, 2]."""
    points = np.concatenate([stroke.points for stroke in shape])
    return np.array([points.min(axis=0), points.max(axis=0)])


def beside(shape: Shape, other: Shape, rng: np.random.Generator) -> Shape:
    """Returns both shapes, the other to the right, of similar size, with its own materials."""
    first, second = bounds(shape), bounds(other)
    scale = max(np.ptp(first, axis=0)) / max(np.ptp(second, axis=0)) * rng.uniform(0.6, 1)
    gap = np.array([rng.uniform(-0.2, 0.1) * np.ptp(first[:, 0]), 0])
    corner = np.array([first[1, 0], first[1, 1] - np.ptp(second[:, 1]) * scale]) + gap
    shift = max(stroke.part for stroke in shape)
    moved = [
        replace(
            stroke,
            points=(stroke.points - second[0]) * scale + corner,
            width=stroke.width * scale,
            part=stroke.part + shift if stroke.part else 0,
        )
        for stroke in other
    ]
    return [*shape, *moved]


def place(
    shape: Shape,
    rng: np.random.Generator,
    height: int,
    width: int,
    tilt: float,
    extent: tuple[float, float],
) -> Shape:
    """Returns the shape in pixels: rotated, in perspective, fitted into the image.

    Args:
        shape: Strokes in any units.
        rng: Random generator.
        height: Height of the image.
        width: Width of the image.
        tilt: Largest rotation in radians.
        extent: Range of the share of the image's sides that the shape spans at most.
    """
    points = np.concatenate([stroke.points for stroke in shape])
    low, high = bounds(shape)
    half = max(high - low) / 2
    points = (points - (low + high) / 2) / half
    if rng.random() < 0.5:
        points[:, 0] *= -1
    points *= rng.uniform(0.85, 1.15, 2) * [1, -1 if tilt >= np.pi and rng.random() < 0.5 else 1]
    angle = rng.uniform(-tilt, tilt)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = points @ turn
    nearness = 1 / (1 + points @ rng.uniform(-0.2, 0.2, 2))  # perspective: < 1 is farther away
    points *= nearness[:, None]
    low, high = points.min(axis=0), points.max(axis=0)
    share = rng.uniform(*extent) * np.array([width, height])
    scale = min(share / np.maximum(high - low, 1e-6))
    room = np.array([width, height]) - (high - low) * scale
    corner = room * np.clip(0.5 + rng.normal(0, 0.2, 2), 0.05, 0.95)
    points = (points - low) * scale + corner
    placed, first = [], 0
    for stroke in shape:
        span = slice(first, first + len(stroke.points))
        placed.append(
            replace(
                stroke,
                points=points[span],
                width=stroke.width * scale / half * nearness[span].mean(),
            )
        )
        first = span.stop
    return placed


def rasterise(shape: Shape, height: int, width: int) -> np.ndarray:
    """Returns part numbers, uint8 [S * height, S * width] with S = SUPERSAMPLE; 0: background."""
    canvas = np.zeros((height * SUPERSAMPLE, width * SUPERSAMPLE), np.uint8)
    for stroke in shape:
        if stroke.inside:
            layer = canvas.copy()
            _paint(layer, stroke)
            np.copyto(canvas, layer, where=canvas > 0)
        else:
            _paint(canvas, stroke)
    return canvas


def _paint(canvas: np.ndarray, stroke: Stroke) -> None:
    points = np.round(stroke.points * SUPERSAMPLE).astype(np.int32)
    if stroke.width == 0:
        cv2.fillPoly(canvas, [points], int(stroke.part))
    else:
        thickness = round(max(stroke.width, MIN_WIDTH_PIXELS) * SUPERSAMPLE)
        cv2.polylines(canvas, [points], stroke.closed, int(stroke.part), thickness)


def area_average(mask: np.ndarray) -> np.ndarray:
    """Reduces a boolean mask by SUPERSAMPLE to soft coverage in [0, 1], float32 [H, W]."""
    size = (mask.shape[1] // SUPERSAMPLE, mask.shape[0] // SUPERSAMPLE)
    small = cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / 255
