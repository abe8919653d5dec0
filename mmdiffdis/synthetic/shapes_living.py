"""Shapes of living things: trees, ferns, people and animals.

Each function draws one of them from a random generator as a list of strokes, in any units.
"""

import numpy as np

from .shapes_solid import decals
from .strokes import Shape, arc, fill, limb, line, spline


def tree(rng: np.random.Generator) -> Shape:
    """Draws a bare tree: branches that fork and thin out, perhaps with some leaves."""
    shape, leaves = [], rng.random() < 0.5
    spread, shrink = rng.uniform(0.3, 0.6), rng.uniform(0.68, 0.8)

    def grow(start: np.ndarray, angle: float, length: float, width: float, depth: int) -> None:
        bend = angle + rng.normal(0, 0.15)
        middle = start + 0.5 * length * np.array([np.cos(angle), np.sin(angle)])
        end = middle + 0.5 * length * np.array([np.cos(bend), np.sin(bend)])
        shape.append(limb(np.array([start, middle, end]), [width, width * 0.7]))
        if depth == 0:
            if leaves:
                size = length * rng.uniform(0.3, 0.6)
                shape.append(fill(arc(*end, size, size * 0.6, samples=10), part=2))
            return
        for side in (-1, 1) if rng.random() < 0.7 else (-1, 0.1, 1):
            turn = side * spread * rng.uniform(0.5, 1.3)
            grow(end, bend + turn, length * shrink * rng.uniform(0.8, 1.1), width * 0.68, depth - 1)

    grow(np.zeros(2), -np.pi / 2, 0.6, rng.uniform(0.08, 0.16), 6)
    return shape


def fern(rng: np.random.Generator) -> Shape:
    """Draws a frond or a small plant: leaflets along bent stems."""
    shape = []
    for heading in rng.normal(0, 0.5, int(rng.integers(1, 5))):
        bend, count = rng.uniform(-0.8, 0.8), int(rng.integers(9, 18))
        t = np.linspace(0, 1, 40)
        course = -np.pi / 2 + heading + bend * t
        stem = np.cumsum(np.stack([np.cos(course), np.sin(course)], axis=1), axis=0) / 40
        shape.append(limb(stem, [0.03, 0.012]))
        slim, opening = rng.uniform(0.08, 0.18), rng.uniform(0.6, 1.2)
        for at in np.linspace(0.2, 0.98, count):
            length = 0.42 * np.sin(np.pi * min(at, 0.98) ** 0.8) + 0.05
            where = int(at * 39)
            for side in (-1, 1):
                angle = course[where] + side * opening
                tip = stem[where] + length * np.array([np.cos(angle), np.sin(angle)])
                leaf = spline([stem[where], (stem[where] + tip) / 2, tip])
                shape.append(limb(leaf, [0.008, length * slim, 0.004], part=2))
    return shape


def figure(rng: np.random.Generator) -> Shape:
    """Draws a standing, walking or reaching person: round limbs, a torso, a head."""
    shape: Shape = []
    hip, neck = np.array([0, 0.0]), np.array([rng.normal(0, 0.08), -0.75])
    thick = rng.uniform(0.13, 0.2)

    def chain(
        start: np.ndarray, angles: list[float], length: float, width: float, part: int
    ) -> np.ndarray:
        joints = [start]
        for angle in angles:
            joints.append(joints[-1] + length * np.array([np.sin(angle), np.cos(angle)]))
        shape.append(limb(spline(joints), [width, width * 0.8, width * 0.6], part))
        return joints[-1]

    for side in (-1, 1):
        swing = side * rng.uniform(0.02, 0.55)
        foot = chain(
            hip + [side * 0.1, 0], [swing, swing - rng.uniform(0, 0.5)], 0.5, thick * 1.2, 2
        )
        toe = foot + [0.18, 0.03]
        shape.append(
            limb(np.array([foot - [0.04, 0], (foot + toe) / 2, toe]), [0.12, 0.12, 0.07], 3)
        )
    shoulder = rng.uniform(0.2, 0.3)
    torso = [
        neck + [-shoulder, 0.06],
        neck + [shoulder, 0.06],
        hip + [0.2, 0],
        hip + [0.2, 0.15],
        hip + [-0.2, 0.15],
        hip + [-0.2, 0],
    ]
    if rng.random() < 0.35:  # a skirt or a coat
        torso[3:5] = [hip + [0.42, 0.5], hip + [-0.42, 0.5]]
    shape.append(fill(spline(torso, closed=True)))
    for side in (-1, 1):
        raise_by = rng.uniform(0, 1.2) if rng.random() < 0.7 else rng.uniform(1.2, 2.8)
        angles = [side * raise_by, side * (raise_by + rng.uniform(-1, 0.8))]
        hand = chain(neck + [side * shoulder * 0.85, 0.12], angles, 0.36, thick * 0.8, 1)
        shape.append(fill(arc(*hand, 0.06, samples=14), part=4))
    shape.append(line(neck + [0, 0.1], neck - [0, 0.15], width=0.12, part=4))
    head = neck - [0, 0.3]
    shape.append(fill(arc(*head, 0.15, 0.19), part=4))
    hair = arc(*(head - [0, 0.02]), 0.17, 0.2, np.pi * 0.95, np.pi * 2.05, 24)
    return [*shape, fill(hair, part=3)]


def animal(rng: np.random.Generator) -> Shape:
    """Draws a four-legged animal or an insect: a body on thin legs, with tail, horns or feelers."""
    shape: Shape = []
    if rng.random() < 0.3:  # insect
        for x in (-0.3, 0, 0.3):
            for side in (-1, 1):
                knee = np.array([x * 2 + rng.normal(0, 0.06), side * 0.55])
                foot = np.array([x * 3 + rng.normal(0, 0.1), side * rng.uniform(0.8, 1)])
                shape.append(line((x, 0), knee, foot, width=0.035, part=2))
        for side in (-1, 1):
            feeler = spline([(0.7, 0), (1.0, side * 0.15), (1.4, side * rng.uniform(0.2, 0.6))])
            shape.append(line(*feeler, width=0.02, part=2))
        shape.append(limb(np.array([(-1.1, 0), (-0.6, 0), (-0.15, 0)]), [0.1, 0.5, 0.15]))
        shape.append(limb(np.array([(-0.25, 0), (0.4, 0)]), [0.2, 0.3]))
        return [*shape, fill(arc(0.62, 0, 0.2, 0.18), part=2), *decals(rng, 0.5)]
    girth, leg = rng.uniform(0.35, 0.6), rng.uniform(0.5, 1.0)
    for x in (-0.62, -0.48, 0.42, 0.56):
        knee, foot = x + rng.normal(0, 0.1), x + rng.normal(0, 0.16)
        points = spline([(x, 0), (knee, leg * 0.6), (foot, leg + 0.1)])
        shape.append(limb(points, [0.22, 0.12, 0.09], int(rng.integers(1, 3))))
    tail = [(-0.7, -0.1), (-1, rng.uniform(-0.5, 0.2)), (-1.1, rng.uniform(-0.8, 0.6))]
    shape.append(limb(spline(tail), [0.08, rng.uniform(0.04, 0.14), 0.04], 2))
    shape.append(limb(spline([(-0.7, 0), (-0.2, 0.03), (0.6, 0)]), [girth, girth * 0.85, girth]))
    rise = rng.uniform(0.1, 0.7)
    head = np.array([1.0, -rise])
    shape.append(limb(spline([(0.5, 0), (0.75, -rise * 0.5), head]), [girth * 0.8, 0.26, 0.24]))
    shape.append(limb(np.array([head, head + [0.3, rng.uniform(0, 0.2)]]), [0.26, 0.14]))
    for x in (-0.06, 0.04):
        horn = spline(
            [
                head + [x, -0.08],
                head + [x * 2, -0.25],
                head + [x + rng.normal(-0.1, 0.1), -rng.uniform(0.25, 0.7)],
            ]
        )
        shape.append(limb(horn, [0.1, 0.05, 0.02], 2))
    return [*shape, *decals(rng, 0.6)]
