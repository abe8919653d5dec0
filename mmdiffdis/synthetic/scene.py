"""One image and its mask: an object in front of a plausible background.

`draw_sample`: (1) shape -> parts and coverage; (2) background; (3) distractors out of focus;
(4) shadow; (5) materials and shading; (6) composition; (7) haze and reflections over everything;
(8) camera: vignette, colour cast, blur, noise.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from . import shapes_living, shapes_solid, shapes_thin
from .photo import SCENES, TEXTURES, blend, blur, colour, crop, fractal, ramp, recolour
from .strokes import Shape, area_average, beside, bounds, place, rasterise

SPLITS = ('DIS-TR', 'DIS-VD')
LUMA = np.float32([0.114, 0.587, 0.299])


@dataclass(frozen=True)
class Kind:
    """A kind of object.

    Attributes:
        draw: Function that draws one such object.
        tilt: Largest rotation in degrees.
        share: Number of objects of this kind in a deck, see `kind_of`.
        stands: Whether it stands on a floor and may cast its shadow there.
    """

    draw: Callable[[np.random.Generator], Shape]
    tilt: float
    share: int = 1
    stands: bool = True


KINDS: dict[str, Kind] = {
    'airplane': Kind(shapes_solid.airplane, 35, 2, stands=False),
    'animal': Kind(shapes_living.animal, 12, 3),
    'bag': Kind(shapes_solid.bag, 15, 3),
    'basket': Kind(shapes_solid.basket, 10, 2),
    'bicycle': Kind(shapes_thin.bicycle, 8, 3),
    'blob': Kind(shapes_solid.blob, 180, 3),
    'cable': Kind(shapes_thin.cable, 180, 1),
    'car': Kind(shapes_solid.car, 8, 2),
    'chair': Kind(shapes_thin.chair, 8, 3),
    'fence': Kind(shapes_thin.fence, 15, 1),
    'fern': Kind(shapes_living.fern, 30, 1),
    'figure': Kind(shapes_living.figure, 12, 4),
    'glasses': Kind(shapes_thin.glasses, 90, 1),
    'key': Kind(shapes_solid.key, 180, 1),
    'lattice': Kind(shapes_thin.lattice, 40, 1),
    'letters': Kind(shapes_solid.letters, 20, 1),
    'net': Kind(shapes_thin.net, 45, 1, stands=False),
    'plate': Kind(shapes_thin.plate, 45, 2),
    'shopping cart': Kind(shapes_solid.cart, 8, 2),
    'tower': Kind(shapes_thin.tower, 12, 1),
    'tree': Kind(shapes_living.tree, 10, 1),
    'umbrella': Kind(shapes_thin.umbrella, 50, 1),
    'vessel': Kind(shapes_solid.vessel, 10, 3),
    'wheel': Kind(shapes_thin.wheel, 20, 2),
}


@dataclass(frozen=True)
class Sample:
    """A synthetic image and its mask.

    Attributes:
        image: uint8 [H, W, 3] BGR.
        mask: uint8 [H, W], soft.
        kind: Kind of the object.
        stem: Stem of the file names.
    """

    image: np.ndarray
    mask: np.ndarray
    kind: str
    stem: str


def kind_of(seed: int, split: str, index: int) -> str:
    """Returns the kind of image `index`, from shuffled decks that hold all kinds."""
    deck = [name for name, kind in KINDS.items() for _ in range(kind.share)]
    number, position = divmod(index, len(deck))
    rng = np.random.default_rng([seed, SPLITS.index(split), number])
    return deck[rng.permutation(len(deck))[position]]


def stem_of(seed: int, split: str, index: int) -> str:
    """Returns the stem of the file names of image `index`."""
    return f'{index:04d}#{kind_of(seed, split, index)}'


def draw_sample(seed: int, split: str, index: int, height: int = 256, width: int = 256) -> Sample:
    """Draws image `index` of a split; the pixels depend on the arguments alone.

    Args:
        seed: Seed of the whole set, 0 or more.
        split: One of SPLITS.
        index: Number of the image, from 0.
        height: Height of the image.
        width: Width of the image.
    """
    kind = kind_of(seed, split, index)
    rng = np.random.default_rng([seed, SPLITS.index(split), index, height, width])
    parts = draw_parts(rng, kind, height, width)
    alpha = area_average(parts > 0)

    scene = background(rng, height, width)
    scene = distractors(rng, scene)
    scene = cast_shadow(rng, scene, alpha, KINDS[kind].stands)
    surface = shade(rng, paint(rng, parts, scene), parts)
    image = blend(scene, surface, alpha)
    image = camera(rng, haze(rng, image))

    pixels = np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
    mask = np.round(alpha * 255).astype(np.uint8)
    return Sample(pixels, mask, kind, stem_of(seed, split, index))


def draw_parts(rng: np.random.Generator, kind: str, height: int, width: int) -> np.ndarray:
    """Draws the part numbers of an object at SUPERSAMPLE times the size, uint8; 0: background."""
    extent = (0.95, 1.3) if rng.random() < 0.12 else (0.6, 0.97)  # some leave the image
    shape = KINDS[kind].draw(rng)
    across, down = np.ptp(bounds(shape), axis=0)
    if across < 1.1 * down and rng.random() < 0.25:  # two or three of a kind
        for _ in range(int(rng.integers(1, 3))):
            shape = beside(shape, KINDS[kind].draw(rng), rng)
    shape = place(shape, rng, height, width, np.radians(KINDS[kind].tilt), extent)
    return rasterise(shape, height, width)


def background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draws a photograph, a room with a floor, a sky, a studio or a smooth pattern."""
    style = rng.choice(['photo', 'room', 'sky', 'studio', 'smooth'], p=[0.5, 0.25, 0.1, 0.1, 0.05])
    if style == 'photo':
        names = SCENES if rng.random() < 0.6 else TEXTURES
        scene = crop(rng, names, height, width)
        scene = recolour(rng, scene) if rng.random() < 0.6 else scene
        # blurred, so that the objects of a photograph are not taken for the foreground
        return blur(scene, rng.uniform(2, 6) * width / 256)
    if style == 'room':
        return _room(rng, height, width)
    if style == 'sky':
        blue = np.float32([rng.uniform(0.7, 1), rng.uniform(0.5, 0.8), rng.uniform(0.2, 0.6)])
        pale = np.float32([0.97, 0.95, 0.92]) * np.float32(rng.uniform(0.75, 1))
        sky = blend(
            blue, pale, ramp(rng, height, width, rng.normal(np.pi / 2, 0.3)) ** rng.uniform(0.5, 2)
        )
        clouds = np.clip(fractal(rng, height, width) * 2 - rng.uniform(0.6, 2), 0, 1)
        return blend(sky, pale, clouds)
    if style == 'studio':
        light = colour(rng) if rng.random() < 0.25 else np.float32([1, 1, 1]) * rng.uniform(0.75, 1)
        light = np.clip(light + rng.normal(0, 0.02, 3), 0, 1)
        return blend(light, light * rng.uniform(0.55, 0.98), ramp(rng, height, width))
    return blend(colour(rng), colour(rng), fractal(rng, height, width, int(rng.integers(1, 6))))


def _room(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draws a wall above a floor in perspective."""
    horizon = int(height * rng.uniform(0.35, 0.85))
    wall = blend(colour(rng), colour(rng), ramp(rng, height, width))
    if rng.random() < 0.6:
        wall = blur(recolour(rng, crop(rng, SCENES + TEXTURES, height, width)), rng.uniform(1, 6))
    if rng.random() < 0.4:
        floor = blend(colour(rng), colour(rng), ramp(rng, height, width))
    else:
        floor = recolour(rng, crop(rng, ('brick.png', 'gravel.png', 'grass.png'), height, width))
        corners = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
        spread = rng.uniform(0.3, 1.2) * width
        seen = np.float32(
            [[0, horizon], [width, horizon], [width + spread, height], [-spread, height]]
        )
        floor = cv2.warpPerspective(
            floor,
            cv2.getPerspectiveTransform(corners, seen),
            (width, height),
            borderMode=cv2.BORDER_REFLECT,
        )
    below = np.zeros((height, width), np.float32)
    below[horizon:] = 1
    wall = _panels(rng, wall, horizon) if rng.random() < 0.6 else wall
    room = blend(wall, floor, blur(below, rng.uniform(0, 2)))
    return blur(room, rng.uniform(1.5, 4) * width / 256)


def _panels(rng: np.random.Generator, wall: np.ndarray, floor: int) -> np.ndarray:
    """Draws flat things on the wall that are not the subject, such as frames and doors."""
    height, width = wall.shape[:2]
    for _ in range(int(rng.integers(1, 5))):
        left, right = np.sort(rng.uniform(-0.3, 1.3, 2) * width).astype(int)
        top = int(rng.uniform(-0.3, 0.9) * floor)
        bottom = floor if rng.random() < 0.5 else int(rng.uniform(top, floor))
        layer = np.zeros((height, width), np.float32)
        cv2.rectangle(layer, (left, top), (right, bottom), 1.0, -1)
        tint = colour(rng) if rng.random() < 0.6 else wall.mean(axis=(0, 1)) * rng.uniform(0.5, 1.2)
        panel = blend(tint, tint * rng.uniform(0.5, 1), ramp(rng, height, width))
        if rng.random() < 0.3:
            panel = recolour(rng, crop(rng, SCENES + TEXTURES, height, width))
        wall = blend(wall, panel, layer)
        if rng.random() < 0.6:
            thick = int(rng.integers(1, 2 + width // 50))
            frame = np.zeros((height, width), np.float32)
            cv2.rectangle(frame, (left, top), (right, bottom), 1.0, thick)
            wall = blend(wall, colour(rng), frame)
    return wall


def distractors(rng: np.random.Generator, scene: np.ndarray) -> np.ndarray:
    """Adds a few things behind the object: out of focus, small or at the border."""
    height, width = scene.shape[:2]
    for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.4, 0.3, 0.2, 0.1]))):
        kind = str(rng.choice(list(KINDS)))
        shape = place(KINDS[kind].draw(rng), rng, height, width, 0.5, (0.15, 0.6))
        coverage = area_average(rasterise(shape, height, width) > 0)
        shift = rng.choice([-1, 1], 2) * rng.uniform(0.15, 0.6, 2) * [width, height]
        move = np.float32([[1, 0, shift[0]], [0, 1, shift[1]]])
        coverage = cv2.warpAffine(coverage, move, (width, height))
        coverage = blur(coverage, rng.uniform(4, 9) * width / 256) * rng.uniform(0.5, 1)
        scene = blend(scene, blend(colour(rng), colour(rng), ramp(rng, height, width)), coverage)
    return scene


def cast_shadow(
    rng: np.random.Generator, scene: np.ndarray, alpha: np.ndarray, stands: bool
) -> np.ndarray:
    """Darkens the wall behind the object or the floor by the object's shadow."""
    if rng.random() < 0.3:
        return scene
    height, width = alpha.shape
    if stands and rng.random() < 0.5:  # a sheared, flattened silhouette from the lowest point on
        foot = int(np.flatnonzero(alpha.max(axis=1) > 0.5)[-1]) if alpha.max() > 0.5 else height
        flat, lean = rng.uniform(0.15, 0.5), rng.uniform(-1, 1)
        move = np.float32([[1, lean, -lean * foot], [0, flat, foot * (1 - flat)]])
    else:
        move = np.float32(
            [[1, 0, rng.normal(0, 0.05) * width], [0, 1, rng.normal(0.03, 0.04) * height]]
        )
    shadow = blur(cv2.warpAffine(alpha, move, (width, height)), rng.uniform(1, 6) * width / 256)
    return scene * (1 - rng.uniform(0.2, 0.65) * shadow)[..., None].astype(np.float32)


def paint(rng: np.random.Generator, parts: np.ndarray, scene: np.ndarray) -> np.ndarray:
    """Paints the parts with plain, graded, clouded or photographic materials; [H, W, 3].

    Most parts differ from their background; 5 % may be camouflaged.
    """
    total = area_average(parts > 0)
    height, width = total.shape
    surface = np.zeros((height, width, 3), np.float32)
    for part in range(1, int(parts.max()) + 1):
        style = rng.choice(['plain', 'graded', 'photo', 'cloud'], p=[0.4, 0.2, 0.25, 0.15])
        if style == 'photo':
            names = SCENES + TEXTURES
            material = crop(rng, names, height, width, (0.2, 0.8))
            material = recolour(rng, material) if rng.random() < 0.7 else material
        else:
            tint = colour(rng)
            other = colour(rng) if rng.random() < 0.3 else tint * np.float32(rng.uniform(0.4, 1.3))
            weight = {
                'plain': lambda: np.float32(0) * total,
                'graded': lambda: ramp(rng, height, width),
                'cloud': lambda: fractal(rng, height, width, 6),
            }[str(style)]()
            material = blend(tint, other, weight)
        coverage = area_average(parts == part)
        # The object is in focus: its texture is finer than the blurred background.
        texture = fractal(rng, height, width, int(rng.integers(24, 64))) - 0.5
        material = material * (1 + rng.uniform(0.3, 0.8) * texture)[..., None]
        if rng.random() < 0.95:
            material = stand_out(rng, material, scene, coverage)
        surface += material * coverage[..., None]
    return surface / np.maximum(total, 1e-3)[..., None]


def shade(rng: np.random.Generator, surface: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Lights the surface from one side: the edges of parts get lighter or darker.

    Args:
        rng: Random generator.
        surface: Materials [H, W, 3].
        parts: Part numbers at SUPERSAMPLE times the size.
    """
    height, width = surface.shape[:2]
    relief = area_average(parts > 0)
    for part in range(2, int(parts.max()) + 1):
        relief = relief + rng.uniform(-0.4, 0.4) * area_average(parts == part)
    angle = rng.uniform(-np.pi, 0)  # mostly from above
    facing = np.zeros((height, width), np.float32)
    for sigma in (1.0, rng.uniform(0.02, 0.09) * width):
        slope_y, slope_x = np.gradient(blur(relief, sigma))
        facing += sigma * np.float32(np.cos(angle)) * slope_x
        facing += sigma * np.float32(np.sin(angle)) * slope_y
    light = 1 - np.float32(rng.uniform(0.3, 1.4)) * np.clip(facing, -0.8, 0.6)
    light *= 1 - np.float32(rng.uniform(0, 0.5)) * ramp(rng, height, width)
    lit = surface * light[..., None]
    if rng.random() < 0.5:
        gloss = np.clip(-facing / 0.5, 0, 1) ** np.float32(rng.uniform(2, 6))
        lit = lit + np.float32(rng.uniform(0.2, 0.8)) * gloss[..., None]
    grain = rng.standard_normal((height, width), np.float32) * np.float32(rng.uniform(0, 0.03))
    return np.clip(lit + grain[..., None], 0, 1)


def stand_out(
    rng: np.random.Generator, surface: np.ndarray, scene: np.ndarray, alpha: np.ndarray
) -> np.ndarray:
    """Makes the surface lighter or darker if its mean colour is near that of its surroundings."""
    size = max(3, alpha.shape[1] // 16) // 2 * 2 + 1
    near = cv2.dilate(alpha, np.ones((size, size), np.uint8)) - alpha
    inside = cv2.mean(surface * alpha[..., None])[:3] / np.float32(max(alpha.mean(), 1e-6))
    around = cv2.mean(scene * near[..., None])[:3] / np.float32(max(near.mean(), 1e-6))
    contrast = rng.uniform(0.15, 0.35)
    if np.abs(inside - around).max() > contrast:
        return surface
    level = float(around @ LUMA)
    up = rng.random() < 0.5 if 0.35 < level < 0.65 else level <= 0.35
    goal = np.clip(level + (contrast if up else -contrast), 0.04, 0.96)
    gamma = np.log(goal) / np.log(np.clip(float(inside @ LUMA), 0.03, 0.97))
    return np.clip(surface, 1e-3, 1) ** np.float32(np.clip(gamma, 0.3, 4))


def haze(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Adds translucent bokeh discs, streaks of light or mist over the image."""
    height, width = image.shape[:2]
    style = rng.choice(['none', 'bokeh', 'streaks', 'mist'], p=[0.7, 0.1, 0.1, 0.1])
    if style == 'none':
        return image
    if style == 'mist':
        return blend(
            image, np.float32([1, 1, 1]) * 0.9, fractal(rng, height, width) * rng.uniform(0.1, 0.35)
        )
    veil = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(2, 8))):
        x, y = int(rng.uniform(0, width)), int(rng.uniform(0, height))
        if style == 'bokeh':
            cv2.circle(
                veil, (x, y), int(rng.uniform(0.02, 0.09) * width), rng.uniform(0.1, 0.35), -1
            )
        else:
            angle = rng.uniform(0, np.pi)
            reach = np.array([np.cos(angle), np.sin(angle)]) * (height + width)
            ends = [(int(x + s * reach[0]), int(y + s * reach[1])) for s in (-1, 1)]
            cv2.line(veil, *ends, rng.uniform(0.05, 0.25), int(rng.integers(1, 1 + width // 12)))
    return blend(image, colour(rng), blur(veil, rng.uniform(0.5, 3)))


def camera(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Adds the effects of a camera: vignette, colour cast, exposure, blur, noise."""
    height, width = image.shape[:2]
    if rng.random() < 0.4:
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        x = np.linspace(-1, 1, width, dtype=np.float32)[None]
        image = image * (1 - rng.uniform(0.05, 0.35) * (x**2 + y**2) / 2)[..., None].astype(
            np.float32
        )
    image = image * (1 + rng.normal(0, 0.05, 3)).astype(np.float32)
    image = np.clip(image, 0, 1) ** np.float32(rng.uniform(0.75, 1.3))
    image = blur(image, rng.uniform(0, 0.5))
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(0, 0.012))
    return image + noise
