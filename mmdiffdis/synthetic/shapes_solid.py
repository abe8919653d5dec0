"""Shapes with large interiors, and with handles, legs, wings and holes.

Each function draws one object from a random generator as a list of strokes, in any units.
"""

import cv2
import numpy as np

from .strokes import Shape, arc, box, cut, fill, limb, line, outline, ring, spline


def decals(rng: np.random.Generator, reach: float = 0.8) -> Shape:
    """Draws a pattern on a surface: stripes, dots or patches of a second material."""
    style = rng.choice(['none', 'stripes', 'dots', 'patches'])
    if style == 'stripes':
        angle, half = (
            rng.uniform(0, np.pi),
            np.array([[-2, -0.05], [2, -0.05], [2, 0.05], [-2, 0.05]]),
        )
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        return [
            fill((half * [0.45, rng.uniform(0.5, 2)] + [0, y]) @ turn * reach, part=3, inside=True)
            for y in np.linspace(-0.8, 0.8, int(rng.integers(2, 7)))
        ]
    if style == 'dots':
        spots = rng.uniform(-reach, reach, (int(rng.integers(4, 15)), 2))
        return [fill(arc(*s, rng.uniform(0.05, 0.15), samples=16), 3, inside=True) for s in spots]
    if style == 'patches':
        spots = rng.uniform(-reach, reach, (int(rng.integers(1, 4)), 2))
        return [
            fill(outline(rng, 4, 0.2, 40) * rng.uniform(0.2, 0.5) + s, 3, inside=True)
            for s in spots
        ]
    return []


def blob(rng: np.random.Generator) -> Shape:
    """Draws a smooth or a rough lump: stones, fruit, loaves, clumps."""
    smooth = rng.random() < 0.5
    curve = outline(rng, 5 if smooth else 40, 0.18 if smooth else 0.09, 200)
    curve = curve * [1, rng.uniform(0.6, 1)]
    return [fill(curve), *decals(rng)]


def letters(rng: np.random.Generator) -> Shape:
    """Draws one to three characters, most with counters (holes)."""
    font = int(
        rng.choice(
            [
                cv2.FONT_HERSHEY_SIMPLEX,
                cv2.FONT_HERSHEY_TRIPLEX,
                cv2.FONT_HERSHEY_COMPLEX,
                cv2.FONT_HERSHEY_DUPLEX,
            ]
        )
    )
    text = ''.join(rng.choice(list('ABDOPQRabdegopq0468&@'), int(rng.integers(1, 4))))
    thick = int(rng.integers(18, 46))
    (width, height), base = cv2.getTextSize(text, font, 8, thick)
    raster = np.zeros((height + base + 2 * thick, width + 2 * thick), np.uint8)
    cv2.putText(raster, text, (thick, height + thick), font, 8, 255, thick)
    contours, tree = cv2.findContours(raster, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_TC89_L1)
    outer = [fill(c[:, 0]) for c, node in zip(contours, tree[0], strict=True) if node[3] < 0]
    holes = [cut(c[:, 0]) for c, node in zip(contours, tree[0], strict=True) if node[3] >= 0]
    return outer + holes


def key(rng: np.random.Generator) -> Shape:
    """Draws a key: a pierced bow, a shaft and bits."""
    bow, thick = rng.uniform(0.25, 0.4), rng.uniform(0.06, 0.12)
    style = rng.choice(['round', 'clover', 'square'])
    shape: Shape = []
    if style == 'round':
        shape += [fill(arc(0, 0, bow, bow * 0.8)), cut(arc(-bow * 0.2, 0, bow * 0.5))]
    elif style == 'square':
        shape += [fill(box(-bow, -bow, bow, bow, bow * 0.3)), cut(arc(-bow * 0.4, 0, bow * 0.3))]
    else:
        centres = [(0, -bow * 0.7), (0, bow * 0.7), (-bow * 0.7, 0)]
        shape += [fill(arc(*c, bow * 0.6)) for c in centres]
        shape += [cut(arc(*c, bow * 0.35)) for c in centres]
    shape.append(line((bow * 0.7, 0), (1.5, 0), width=thick))
    for x in np.linspace(1.0, 1.47, int(rng.integers(2, 6))):
        shape.append(line((x, 0), (x, rng.uniform(0.12, 0.3)), width=thick * 0.8))
    return [*shape, line((bow * 0.9, 0), (1.4, 0), width=thick * 0.3, part=2)]


def basket(rng: np.random.Generator) -> Shape:
    """Draws a woven or wire basket from slightly above: interlaced strips, a rim, a handle."""
    rows, columns = int(rng.integers(5, 11)), int(rng.integers(8, 18))
    tall, taper, sag = rng.uniform(0.8, 1.6), rng.uniform(0.6, 0.95), rng.uniform(0.1, 0.3)
    woven = rng.random() < 0.6
    side = np.linspace(-1, 1, 60)

    def wall(u: np.ndarray | float, v: np.ndarray | float, near: int = 1) -> np.ndarray:
        """Returns the point at `u` (left to right) and `v` (rim to foot); near=-1: far half."""
        u, v = np.broadcast_arrays(u, v)
        half = 1 - (1 - taper) * v
        depth = sag * half * np.sqrt(np.clip(1 - u**2, 0, 1))
        return np.stack([half * u, tall * v + near * depth], axis=-1)

    rim = np.concatenate([wall(side, 0.0), wall(side[::-1], 0.0, -1)])
    body = np.concatenate([wall(side, 0.0), wall(side[::-1], 1.0)])
    shape: Shape = []
    if rng.random() < 0.6:
        loop = arc(0, 0, 0.97, rng.uniform(0.7, 1.2), np.pi, 2 * np.pi)
        shape.append(line(*loop, width=rng.uniform(0.04, 0.09), part=3))
    posts = np.sin(np.linspace(-np.pi / 2, np.pi / 2, columns))
    levels = (np.arange(rows) + 0.5) / rows
    if woven:
        width, height = 2.2 / columns * rng.uniform(0.5, 0.8), tall / rows * rng.uniform(0.5, 0.85)
        if rng.random() < 0.5:
            shape.append(fill(body, part=3))
        shape.append(fill(rim, part=3))
        for index, u in enumerate(posts):
            shape.append(line(*wall(u, np.linspace(0, 0.97, 12)), width=width, part=1 + index % 2))
        for row, level in enumerate(levels):
            shape.append(line(*wall(side, level), width=height, part=2))
            for index, u in enumerate(posts):  # every second strip passes in front of this row
                if (index + row) % 2:
                    over = wall(u, level + np.array([-0.4, 0.4]) / rows)
                    shape.append(line(*over, width=width, part=1 + index % 2))
    else:
        width = rng.uniform(0.015, 0.035)
        for near in (-1, 1):
            shape += [line(*wall(u, np.linspace(0, 1, 12), near), width=width) for u in posts]
            shape += [line(*wall(side, v, near), width=width, part=2) for v in levels[::2]]
    foot = wall(side, 1.0)
    return [
        *shape,
        line(*foot, width=rng.uniform(0.05, 0.1), part=3),
        ring(rim, width=rng.uniform(0.04, 0.1), part=3 if woven else 2),
    ]


def bag(rng: np.random.Generator) -> Shape:
    """Draws a bag, sack or bucket: a solid body that hangs from thin handles."""
    top, bottom, tall = rng.uniform(0.4, 0.9), rng.uniform(0.6, 1), rng.uniform(0.7, 1.3)
    right = [
        (top * 0.95, -tall / 2),
        (top * 1.05, -tall / 4),
        (bottom, tall / 4),
        (bottom * rng.uniform(0.8, 1), tall / 2),
        (0.0, tall * rng.uniform(0.5, 0.56)),
    ]
    left = [(-x * rng.uniform(0.92, 1.05), y) for x, y in right[-2::-1]]
    body = spline([*right, *left])
    reach, grip = rng.uniform(0.3, 0.9), rng.uniform(0.3, 0.6) * top
    strap = rng.uniform(0.03, 0.1)
    shape: Shape = []
    for shift in (0.06, 0) if rng.random() < 0.6 else (0,):
        loop = [
            (-grip + shift, -tall * 0.46),
            (-grip * 0.9 + shift, -tall / 2 - reach * 0.7),
            (shift, -tall / 2 - reach),
            (grip * 0.9 + shift, -tall / 2 - reach * 0.7),
            (grip + shift, -tall * 0.46),
        ]
        shape.append(line(*spline(loop), width=strap, part=2))
    shape += [fill(body), *decals(rng, 0.7)]
    if rng.random() < 0.6:
        flap = [
            (-1.2, -tall),
            (1.2, -tall),
            (1.2, -tall * 0.2),
            (0, -tall * 0.1),
            (-1.2, -tall * 0.2),
        ]
        shape.append(fill(np.array(flap) * [1, rng.uniform(0.6, 1.4)], part=2, inside=True))
        shape.append(shape.pop(0))  # the handle stays in front
    return shape


def airplane(rng: np.random.Generator) -> Shape:
    """Draws an airplane from below, above or the side: fuselage, wings, tail, engines."""
    body = rng.uniform(0.1, 0.2)
    hull = limb(
        spline([(-1, 0), (-0.5, 0), (0.4, 0), (1, 0)]), [body * 0.4, body, body, body * 0.3]
    )
    shape: Shape = []
    if rng.random() < 0.5:
        sweep, span, chord = rng.uniform(0, 0.6), rng.uniform(0.6, 1.1), rng.uniform(0.18, 0.4)
        for side in (-1, 1):
            wing = [
                (0.25, 0),
                (0.25 - sweep, side * span),
                (0.2 - sweep - chord * 0.4, side * span),
                (0.25 - chord, 0),
            ]
            shape.append(fill(np.array(wing), part=2))
            tail = [
                (-0.75, 0),
                (-0.9 - sweep * 0.3, side * span * 0.35),
                (-1.02, side * span * 0.35),
                (-0.98, 0),
            ]
            shape.append(fill(np.array(tail), part=2))
            for along in rng.uniform(0.25, 0.6, int(rng.integers(0, 3))):
                where = np.array([0.22 - sweep * along, side * span * along])
                engine = np.array([where - [0.1, 0], where + [0.1, 0]])
                shape.append(limb(engine, [0.05, 0.07], 3))
        return [*shape, hull]
    fin = np.array([(-0.7, -body * 0.2), (-0.95, -rng.uniform(0.3, 0.5)), (-1.08, -0.4), (-1, 0)])
    shape += [fill(fin, part=2), hull]
    wing = np.array([(0.25, body * 0.3), (-0.25, rng.uniform(0.2, 0.5)), (-0.4, 0.35), (-0.1, 0)])
    shape.append(fill(wing, part=2))
    for x in np.linspace(-0.5, 0.6, int(rng.integers(5, 14))):
        shape.append(fill(arc(x, -body * 0.12, 0.018, samples=10), part=3))
    if rng.random() < 0.6:  # undercarriage and propeller: thin parts
        for x in (rng.uniform(-0.3, 0), 0.6):
            shape.append(line((x, 0), (x, 0.32), width=0.02, part=3))
            shape.append(fill(arc(x, 0.34, 0.07, samples=20), part=3))
        blade = rng.uniform(0.2, 0.4)
        shape.append(limb(np.array([(1.0, -blade), (1.0, 0), (1.0, blade)]), [0.02, 0.05, 0.02], 3))
    return shape


def vessel(rng: np.random.Generator) -> Shape:
    """Draws a vase, bottle, mug, jug or lamp: a turned profile, perhaps with a handle."""
    levels = np.linspace(-1, 1, 7)
    radius = np.clip(0.45 + np.cumsum(rng.normal(0, 0.14, 7)) - 0.05, 0.15, 0.8)
    right = spline(np.c_[radius, levels])
    rim = arc(0, -1, radius[0], radius[0] * 0.18, 0, np.pi * 2, 30)
    foot = arc(0, 1, radius[-1], radius[-1] * 0.18, 0, np.pi, 20)
    body = np.concatenate([right, foot, (right * [-1, 1])[::-1]])
    shape: Shape = []
    for side in (1, -1)[: rng.integers(0, 3)]:
        start, end = radius[1] * 0.95, radius[4] * 0.9
        loop = spline(
            [
                (start, levels[1]),
                (start + 0.45, levels[2] - 0.1),
                (end + 0.4, levels[3]),
                (end, levels[4]),
            ]
        )
        shape.append(line(*(loop * [side, 1]), width=rng.uniform(0.06, 0.14), part=2))
    shape += [fill(body), *decals(rng, 0.7), fill(rim, part=2)]
    if rng.random() < 0.4:  # flowers
        for lean in rng.normal(0, 0.35, int(rng.integers(2, 7))):
            tip = np.array([lean * 1.4, -1 - rng.uniform(0.4, 1.0)])
            shape.append(line(*spline([(0, -1), (lean * 0.5, -1.25), tip]), width=0.03, part=3))
            petals = (
                outline(rng, 1, 0) * (1 + 0.3 * np.cos(5 * np.linspace(0, 2 * np.pi, 160)))[:, None]
            )
            shape.append(fill(petals * rng.uniform(0.1, 0.2) + tip, part=2))
    return shape


def car(rng: np.random.Generator) -> Shape:
    """Draws a car, van or boat-like hull with windows, wheels, mirrors and an aerial."""
    roof = -rng.uniform(0.35, 0.6)
    front, back = rng.uniform(0.1, 0.45), rng.uniform(-0.9, -0.4)
    hull = [
        (-1, 0.2),
        (-1.02, -0.05),
        (back - 0.1, -0.1),
        (back + 0.1, roof),
        (front - 0.15, roof),
        (front + 0.2, -0.1),
        (0.95, -0.02),
        (1.02, 0.2),
    ]
    cabin = [
        (back, -0.1),
        (back + 0.15, roof + 0.06),
        (front - 0.2, roof + 0.06),
        (front + 0.1, -0.1),
    ]
    shape = [fill(np.array(hull)), fill(np.array(cabin), part=2)]
    post = (back + front) / 2
    shape.append(line((post, roof + 0.04), (post, -0.1), width=0.05))
    shape.append(line((-0.98, 0.06), (0.98, 0.06), width=rng.uniform(0.02, 0.05), part=3))
    for x in (-0.6, 0.6):
        shape.append(fill(arc(x, 0.22, 0.2), part=2))
        shape.append(fill(arc(x, 0.22, 0.11), part=3))
    if rng.random() < 0.5:
        shape.append(line((back + 0.2, roof), (back, roof - 0.3), width=0.015, part=2))
    if rng.random() < 0.4:  # roof rack
        rack = np.array([[back + 0.2, roof - 0.08], [front - 0.2, roof - 0.08]])
        shape.append(line(*rack, width=0.02, part=2))
        for x in np.linspace(*rack[:, 0], 4):
            shape.append(line((x, roof), (x, roof - 0.08), width=0.02, part=2))
    return shape


def cart(rng: np.random.Generator) -> Shape:
    """Draws a trolley: a basket of wires on a frame with four small wheels."""
    shape: Shape = []
    depth, thick = rng.uniform(0.5, 0.8), rng.uniform(0.012, 0.025)
    top, low = np.array([[-0.8, -0.5], [0.9, -0.3]]), np.array([[-0.6, 0.1], [0.75, 0.05]])
    back = np.array([0.12, -depth * 0.25])
    for shift, part in ((back, 2), (0 * back, 1)):
        for t in np.linspace(0, 1, int(rng.integers(7, 15))):
            ends = (1 - t) * top[0] + t * top[1] + shift, (1 - t) * low[0] + t * low[1] + shift
            shape.append(line(*ends, width=thick, part=part))
        for t in np.linspace(0, 1, int(rng.integers(3, 7))):
            shape.append(line(*((1 - t) * top + t * low + shift), width=thick, part=part))
    for end in (*top, *low):
        shape.append(line(end, end + back, width=thick * 2, part=2))
    shape.append(line(top[0] + back, top[0] - [0.25, 0.15], top[0], width=0.05, part=3))
    for shift in (back, 0 * back):
        frame = np.array([low[0], [-0.75, 0.55], [0.8, 0.6]]) + shift
        shape.append(line(*frame, width=thick * 2.5, part=2))
        for corner in frame[1:]:
            shape.append(line(corner, corner + [0, 0.12], width=0.04, part=2))
            shape.append(fill(arc(*(corner + [0, 0.17]), 0.09, samples=20), part=3))
    return shape
