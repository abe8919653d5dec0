"""Shapes made of thin parts and holes, which make dichotomous segmentation hard.

Each function draws one object from a random generator as a list of strokes, in any units.
"""

import numpy as np

from .strokes import Shape, arc, box, cut, fill, limb, line, project, ring, spline


def fence(rng: np.random.Generator) -> Shape:
    """Draws upright bars between rails: fences, racks, radiators, gates."""
    bars, aspect = int(rng.integers(5, 14)), rng.uniform(0.5, 1.2)
    thick = rng.uniform(0.012, 0.05)
    pointed = rng.random() < 0.5
    shape = []
    for x in np.linspace(-1, 1, bars):
        top = -aspect - rng.uniform(0, 0.06)
        shape.append(line((x, top), (x, aspect), width=thick))
        if pointed:
            tip = np.array([[x - thick, top], [x, top - 0.12], [x + thick, top]])
            shape.append(fill(tip))
    for y in rng.uniform(0.5, 0.9) * aspect * np.array([-1, 1, 0])[: rng.integers(2, 4)]:
        shape.append(line((-1.05, y), (1.05, y), width=thick * rng.uniform(0.8, 1.8), part=2))
    return shape


def lattice(rng: np.random.Generator) -> Shape:
    """Draws a grid of bars in a frame, square or diagonal, seen in perspective."""
    columns, rows = rng.integers(3, 9, 2)
    yaw, pitch = rng.uniform(-0.7, 0.7), rng.uniform(-0.4, 0.4)
    thick = rng.uniform(0.02, 0.06)
    segments = [((x, -1), (x, 1)) for x in np.linspace(-1, 1, columns + 1)[1:-1]]
    segments += [((-1, y), (1, y)) for y in np.linspace(-1, 1, rows + 1)[1:-1]]
    if rng.random() < 0.35:
        shifts = np.linspace(-2, 2, columns + rows + 1)[1:-1]
        segments = [
            ((max(-1, s - 1), max(-1, -s - 1)), (min(1, s + 1), min(1, 1 - s))) for s in shifts
        ]
        segments += [((a[0], -a[1]), (b[0], -b[1])) for a, b in segments]

    def seen(points: np.ndarray) -> np.ndarray:
        flat = np.asarray(points, np.float64)
        return project(np.c_[flat, np.zeros(len(flat))], yaw, pitch, 3.5)

    shape = [line(*seen(np.array(pair)), width=thick) for pair in segments]
    return [*shape, ring(seen(box(-1, -1, 1, 1)), width=thick * rng.uniform(1.2, 2.5), part=2)]


def wheel(rng: np.random.Generator, tyre: int = 1, rim: int = 2) -> Shape:
    """Draws a tyre, a rim, spokes and a hub: bicycle, cart and car wheels."""
    spokes, squeeze = int(rng.integers(5, 30)), rng.uniform(0.55, 1)
    thick = rng.uniform(0.012, 0.03) if spokes > 12 else rng.uniform(0.03, 0.1)
    lean = rng.choice([0.0, 0.25]) if spokes > 12 else 0.0  # crossed spokes
    width = rng.uniform(0.05, 0.2)
    inner, shape = 0.97 - width, []
    for index, angle in enumerate(np.arange(spokes) * 2 * np.pi / spokes):
        start = angle + lean * (-1) ** index
        hub = 0.1 * np.array([np.cos(start), np.sin(start) * squeeze])
        end = inner * np.array([np.cos(angle), np.sin(angle) * squeeze])
        shape.append(line(hub, end, width=thick, part=rim))
    shape.append(ring(arc(0, 0, inner, inner * squeeze), width=width * 0.35, part=rim))
    shape.append(ring(arc(0, 0, 1 - width / 2, (1 - width / 2) * squeeze), width=width, part=tyre))
    return [*shape, fill(arc(0, 0, 0.14, 0.14 * squeeze), part=tyre)]


def chair(rng: np.random.Generator) -> Shape:
    """Draws a chair or a table in perspective: thin legs, stretchers, a seat, perhaps a back."""
    yaw, pitch = rng.uniform(0.2, 1.3), rng.uniform(0.1, 0.5)
    half, depth = rng.uniform(0.45, 0.6, 2)
    back = rng.uniform(0.7, 1.2) if rng.random() < 0.65 else 0.0
    if not back:
        half, depth = half * rng.uniform(1, 2), depth * rng.uniform(0.8, 1.3)
    leg, thick = rng.uniform(0.6, 1.1), rng.uniform(0.03, 0.08)
    splay = rng.uniform(1, 1.2)

    def seen(*points: tuple[float, float, float]) -> np.ndarray:
        return project(np.array(points), yaw, pitch, 4.0)

    corners = [(-half, depth), (half, depth), (half, -depth), (-half, -depth)]  # far to near
    shape = []
    if back:
        for x in np.linspace(-half, half, int(rng.integers(2, 7))):
            shape.append(line(*seen((x, 0, depth), (x, -back, depth * 1.1)), width=thick, part=2))
        for y in -back * np.array([1, rng.uniform(0.3, 0.7)]):
            rail = seen((-half, y, depth * 1.07), (half, y, depth * 1.07))
            shape.append(line(*rail, width=thick * 1.6))
    feet = []
    for x, z in corners:
        feet.append((x * splay, leg, z * splay))
        shape.append(line(*seen((x * 0.93, 0, z * 0.93), feet[-1]), width=thick, part=2))
    if rng.random() < 0.6:
        low = [tuple(np.array(f) * [0.98, 0.6, 0.98]) for f in feet]
        for a, b in rng.permutation(4)[:3, None] + [[0, 1]]:
            shape.append(line(*seen(low[a % 4], low[b % 4]), width=thick * 0.7, part=2))
    seat = seen(*[(x, 0, z) for x, z in corners])
    return [*shape, fill(seat), ring(seat + [0, thick * 0.6], width=thick * 1.2)]


def net(rng: np.random.Generator) -> Shape:
    """Draws a sagging mesh hung from a frame or a rope: nets, hammocks, racket strings."""
    cells, thick = int(rng.integers(6, 13)), rng.uniform(0.012, 0.03)
    knots = np.linspace(-1, 1, 3 * cells + 1)
    u, v = np.meshgrid(knots, knots)
    bend = rng.normal(0, 0.12, (2, 3, 3))
    for x in range(3):
        for y in range(3):
            u = u + bend[0, x, y] * np.cos(x * u + y * v)
            v = v + bend[1, x, y] * np.sin(x * v + y * u)
    if rng.random() < 0.4:  # a round racket or a basketball hoop's outline
        u, v = (
            u * np.sqrt(np.clip(1 - 0.5 * v**2, 0.1, 1)),
            v * np.sqrt(np.clip(1 - u**2 / 2, 0.1, 1)),
        )
    grid = np.stack([u, v], axis=-1)
    shape = [
        ring_line
        for i in range(0, len(knots), 3)
        for ring_line in (line(*grid[i], width=thick), line(*grid[:, i], width=thick))
    ]
    border = np.concatenate([grid[0], grid[1:, -1], grid[-1, -2::-1], grid[-2:0:-1, 0]])
    return [*shape, ring(border, width=thick * rng.uniform(1.5, 4), part=2)]


def plate(rng: np.random.Generator) -> Shape:
    """Draws a plate, a ring or a gear with holes punched through."""
    squeeze = rng.uniform(0.6, 1)
    style = rng.choice(['disc', 'gear', 'sheet'])
    if style == 'sheet':
        outline, limits = (
            box(-1, -squeeze, 1, squeeze, rng.uniform(0.02, 0.3)),
            (0.9, 0.9 * squeeze),
        )
    else:
        angle = np.linspace(0, 2 * np.pi, 240, endpoint=False)
        teeth = int(rng.integers(8, 20))
        radius = 1 + (style == 'gear') * 0.08 * np.sign(np.sin(angle * teeth))
        outline = np.stack([np.cos(angle), np.sin(angle) * squeeze], axis=1) * radius[:, None]
        limits = (0.85, 0.85 * squeeze)
    shape = [fill(outline), ring(outline * 0.94, width=0.03, part=2)]
    if style == 'sheet':
        columns, rows = rng.integers(3, 8, 2)
        size = rng.uniform(0.3, 0.42) * min(2 * limits[0] / columns, 2 * limits[1] / rows)
        for x in np.linspace(-limits[0], limits[0], 2 * columns + 1)[1::2]:
            for y in np.linspace(-limits[1], limits[1], 2 * rows + 1)[1::2]:
                shape.append(cut(arc(x, y, size, samples=20)))
        return shape
    shape.append(cut(arc(0, 0, hub := rng.uniform(0.15, 0.5), hub * squeeze)))
    holes, distance = int(rng.integers(4, 10)), (hub + 0.9) / 2
    size = min((0.88 - hub) * 0.36, distance * np.sin(np.pi / holes) * 0.75)
    for turn in np.arange(holes) * 2 * np.pi / holes:
        centre = distance * np.cos(turn), distance * np.sin(turn) * squeeze
        shape.append(cut(arc(*centre, size, size * squeeze, samples=24)))
    return shape


def cable(rng: np.random.Generator) -> Shape:
    """Draws a coiled or tangled cable with plugs at its ends."""
    width = rng.uniform(0.02, 0.06)
    if rng.random() < 0.5:
        turns = np.linspace(0, 2 * np.pi * rng.uniform(1.5, 3.5), 40)
        wobble = 1 + np.cumsum(rng.normal(0, 0.03, 40))
        course = np.stack([np.cos(turns), rng.uniform(0.5, 1) * np.sin(turns)], axis=1)
        drift = np.linspace(0, rng.uniform(0, 0.6), 40)
        course = spline(course * wobble[:, None] + drift[:, None])
    else:
        course = spline(np.cumsum(rng.normal(0, 0.5, (int(rng.integers(6, 11)), 2)), axis=0))
    shape = [line(*course, width=width)]
    for end, before in ((course[0], course[2]), (course[-1], course[-3])):
        out = (end - before) / (np.linalg.norm(end - before) + 1e-9)
        plug = np.array([end, end + out * width * 4])
        shape.append(line(*plug, width=width * rng.uniform(2, 3), part=2))
        side = np.array([-out[1], out[0]]) * width * 0.7
        for pin in (side, -side):
            tip = plug[1] + out * width * 2.5
            shape.append(line(plug[1] + pin, tip + pin, width=width * 0.5, part=3))
    return shape


def umbrella(rng: np.random.Generator) -> Shape:
    """Draws an umbrella: a scalloped canopy over ribs, a shaft and a hooked handle."""
    ribs, drop = int(rng.integers(5, 9)), rng.uniform(0.45, 0.75)
    ends = np.linspace(-1, 1, ribs)
    top = arc(0, 0, 1, drop, np.pi, 2 * np.pi, 40)
    scallops = []
    for a, b in zip(ends[:-1], ends[1:], strict=True):
        t = np.linspace(0, np.pi, 10)
        span = np.stack([b + (a - b) * t / np.pi, -0.1 * np.sin(t)], axis=1)
        scallops.insert(0, span)
    canopy = np.concatenate([top, *scallops])
    hook = arc(0.1, 1.1, 0.1, 0.1, 0, np.pi, 12)[::-1]
    shape = [line((0, -drop - 0.1), (0, 1.1), *hook, width=rng.uniform(0.02, 0.04), part=2)]
    skeleton = rng.random() < 0.4  # only the frame, without cloth
    if not skeleton:
        shape.append(fill(canopy))
    for x in ends:
        rib = np.array([[0, -drop], [x * 0.62, -drop * 0.78], [x, 0]])
        width = 0.025 if skeleton else 0.012
        shape.append(line(*spline(rib), width=width, part=3 if skeleton else 2))
        if skeleton:
            shape.append(line((0, 0.25), (x * 0.55, -drop * 0.8), width=0.018, part=2))
    return shape


def bicycle(rng: np.random.Generator) -> Shape:
    """Draws a bicycle from the side: two spoked wheels, frame, fork, saddle, handlebar, crank."""
    radius = rng.uniform(0.36, 0.46)
    axle = radius + 0.22
    tyre, spoke = rng.uniform(0.03, 0.07), rng.uniform(0.006, 0.012)
    tube = rng.uniform(0.03, 0.07)
    shape: Shape = []
    rear, front = np.array([-axle, 0.0]), np.array([axle, 0.0])
    for centre in (rear, front):
        for angle in np.arange(count := int(rng.integers(10, 20))) * 2 * np.pi / count:
            end = centre + radius * np.array([np.cos(angle), np.sin(angle)])
            shape.append(line(centre, end, width=spoke, part=3))
        shape.append(ring(arc(*centre, radius), width=tyre, part=2))
        shape.append(fill(arc(*centre, 0.04, samples=16), part=3))
    crank = np.array([rng.uniform(-0.15, -0.05), 0.06])
    seat = np.array([crank[0] - rng.uniform(0.12, 0.2), -rng.uniform(0.45, 0.6)])
    head = np.array([front[0] - rng.uniform(0.16, 0.26), -rng.uniform(0.5, 0.65)])
    for a, b in (
        (seat, crank),
        (crank, head + [0.02, 0.12]),
        (seat + [0, 0.1], head),
        (rear, crank),
        (rear, seat + [0.02, 0.12]),
    ):
        thin = 0.55 if a is rear else 1
        shape.append(line(a, b, width=tube * thin))
    shape.append(line(head - [0.04, 0.1], head, front, width=tube * 0.8))
    post = seat - [0.03, 0.14]
    shape.append(line(seat, post, width=tube * 0.6, part=3))
    shape.append(
        limb(np.array([post - [0.16, 0], post, post + [0.15, 0.01]]), [0.09, 0.05, 0.02], 2)
    )
    bar = head - [0.04, 0.1]
    grip = (
        [bar, bar + [0.12, -0.05], bar + [0.16, 0.06]]
        if rng.random() < 0.5
        else [bar + [0.05, 0], bar - [0.14, 0.04]]
    )
    shape.append(line(*grip, width=tube * 0.7, part=2))
    shape.append(ring(arc(*crank, 0.08, samples=20), width=0.025, part=3))
    pedal = rng.uniform(0, np.pi)
    swing = 0.17 * np.array([np.cos(pedal), np.sin(pedal)])
    shape.append(line(crank - swing, crank + swing, width=0.025, part=2))
    return shape


def tower(rng: np.random.Generator) -> Shape:
    """Draws a truss tower, mast or ladder: converging legs with cross braces."""
    floors, top = int(rng.integers(4, 10)), rng.uniform(0.1, 0.7)
    thick = rng.uniform(0.015, 0.04)
    levels = np.linspace(1, -1, floors + 1)
    half = np.interp(levels, [-1, 1], [top * 0.45, 0.45])
    ladder = rng.random() < 0.3
    shape = [line(*np.c_[side * half, levels], width=thick * 1.6) for side in (-1, 1)]
    for low in range(floors):
        a, b = half[low], half[low + 1]
        shape.append(line((-b, levels[low + 1]), (b, levels[low + 1]), width=thick, part=2))
        if not ladder:
            shape.append(line((-a, levels[low]), (b, levels[low + 1]), width=thick * 0.8))
            shape.append(line((a, levels[low]), (-b, levels[low + 1]), width=thick * 0.8))
    if rng.random() < 0.5 and not ladder:
        for y in levels[-3:-1]:
            reach = rng.uniform(0.5, 0.9)
            arm = np.array([[-reach, y], [0, y - 0.12], [reach, y]])
            shape += [ring(arm, width=thick), line((0, -1.25), (0, -1), width=thick)]
    return shape


def glasses(rng: np.random.Generator) -> Shape:
    """Draws spectacles or scissors: paired rings with arms."""
    thick = rng.uniform(0.03, 0.08)
    if rng.random() < 0.5:
        height, lens = rng.uniform(0.3, 0.42), rng.uniform(0.36, 0.44)
        arms = rng.uniform(-0.5, -0.1)
        shape = [
            line((s * 0.9, -0.1), (s * 0.75, arms - 0.2), (s * 0.7, arms - 0.05), width=thick * 0.7)
            for s in (-1, 1)
        ]
        shape += [ring(arc(s * 0.5, 0, lens, height), width=thick, part=2) for s in (-1, 1)]
        return [*shape, line(*arc(0, 0, 0.14, 0.1, np.pi, 2 * np.pi, 10), width=thick, part=2)]
    opening = rng.uniform(0.1, 0.5)
    shape = []
    for side in (-1, 1):
        turn = np.array(
            [[np.cos(opening), side * np.sin(opening)], [-side * np.sin(opening), np.cos(opening)]]
        )
        blade = np.array([[0, 0.08], [1.1, 0], [0, -0.08], [-0.3, -0.05], [-0.3, 0.05]])
        shape.append(fill(blade @ turn, part=1 + (side > 0)))
        grip = arc(-0.6, side * 0.06, 0.3, 0.2)
        shape.append(ring(grip @ turn, width=thick * 1.4, part=3))
    return [*shape, fill(arc(0, 0, 0.04, samples=12), part=3)]
