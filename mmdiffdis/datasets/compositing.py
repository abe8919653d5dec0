"""Cut-outs laid over photographs."""

import cv2
import numpy as np

_LONGEST_SIDE = 1024
_FOREGROUND = (0.45, 0.9)  # range of its share of the image's height or width
_COLOUR_MATCH = (0.0, 0.6)  # range of the share of the background's tone that it takes
_DEPTH_BLUR = (0.0, 0.004)  # range of the background's blur, in the longer side
_SHADOW = (0.0, 0.6)  # range of the light that its shadow takes away
_SHARPNESS_PERCENTILE = 95


def composite(
    cutout: np.ndarray, background: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Lays a cut-out over a photograph.

    The cut-out is scaled, mirrored and moved at random. Its tone is moved towards the photograph's,
    and it is blurred until it is not sharper than that. Its shadow falls on the photograph, which
    is out of focus by a random amount.

    Args:
        cutout: uint8 [H, W, 4] RGBA.
        background: uint8 [h, w, 3] RGB.
        rng: Random generator.

    Returns:
        The image, uint8 [h', w', 3] RGB, and its mask, uint8 [h', w'].

    Raises:
        ValueError: If the cut-out is transparent throughout.
    """
    ground = _shrunk(background)
    colours, alpha = _place(cutout, ground.shape[:2], rng)
    colours = _towards(colours, alpha, ground, rng.uniform(*_COLOUR_MATCH))
    colours, alpha = _as_sharp_as(ground, colours, alpha)
    ground = _blur(ground, rng.uniform(*_DEPTH_BLUR) * max(ground.shape))
    light = 1 - rng.uniform(*_SHADOW) * _shadow(alpha, rng)
    image = ground * light[..., None] * (1 - alpha[..., None]) + colours * alpha[..., None]
    return np.uint8(np.rint(image.clip(0, 1) * 255)), np.uint8(np.rint(alpha * 255))


def _shrunk(image: np.ndarray) -> np.ndarray:
    """Returns an image of at most `_LONGEST_SIDE`, float32 in [0, 1]."""
    scale = min(_LONGEST_SIDE / max(image.shape), 1)
    size = [max(round(scale * side), 1) for side in image.shape[1::-1]]
    return np.float32(cv2.resize(image, size, interpolation=cv2.INTER_AREA)) / 255


def _place(
    cutout: np.ndarray, size: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the colours [h, w, 3] and the alpha [h, w] of a cut-out somewhere in an image."""
    left, top, width, height = cv2.boundingRect(cutout[..., 3])
    if not width:
        raise ValueError('it is transparent throughout')
    piece = np.float32(cutout[top : top + height, left : left + width]) / 255
    piece[..., :3] *= piece[..., 3:]  # so that scaling does not mix in hidden colours
    if rng.random() < 0.5:
        piece = np.ascontiguousarray(piece[:, ::-1])
    scale = rng.uniform(*_FOREGROUND) * min(size[0] / height, size[1] / width)
    height, width = max(round(scale * height), 1), max(round(scale * width), 1)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    piece = cv2.resize(piece, (width, height), interpolation=interpolation)
    placed = np.zeros((*size, 4), np.float32)
    top, left = rng.integers(size[0] - height + 1), rng.integers(size[1] - width + 1)
    placed[top : top + height, left : left + width] = piece
    alpha = placed[..., 3]
    return placed[..., :3] / np.maximum(alpha, 1 / 255)[..., None], alpha


def _towards(
    colours: np.ndarray, alpha: np.ndarray, ground: np.ndarray, share: float
) -> np.ndarray:
    """Returns colours whose mean and deviation in L*a*b* are moved towards the background's.

    Source: Reinhard, Ashikhmin, Gooch and Shirley, Color Transfer between Images, 2001.
    """
    lab, target = (cv2.cvtColor(image, cv2.COLOR_RGB2LAB) for image in (colours, ground))
    inside = lab[alpha > 0.5] if (alpha > 0.5).any() else lab[alpha > 0]
    mean, deviation = inside.mean(0), inside.std(0)
    new_mean = mean + share * (target.mean((0, 1)) - mean)
    ratio = target.std((0, 1)) / np.maximum(deviation, 1)
    gain = 1 + share * (ratio.clip(0.5, 2) - 1)
    return cv2.cvtColor(np.float32((lab - mean) * gain + new_mean), cv2.COLOR_LAB2RGB)


def _as_sharp_as(
    ground: np.ndarray, colours: np.ndarray, alpha: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns colours and alpha, blurred if they are sharper than the background."""
    limit = _sharpness(ground, np.ones_like(alpha))
    for sigma in (0, 0.6, 1, 1.6):
        softer = _blur(colours * alpha[..., None], sigma), _blur(alpha, sigma)
        softer = softer[0] / np.maximum(softer[1], 1 / 255)[..., None], softer[1]
        if _sharpness(softer[0], softer[1]) <= limit:
            break
    return softer


def _sharpness(image: np.ndarray, alpha: np.ndarray) -> float:
    """Returns the second derivative that few pixels inside exceed."""
    inside = cv2.erode(alpha, np.ones((5, 5), np.uint8)) > 0.99
    detail = np.abs(cv2.Laplacian(image.mean(2), cv2.CV_32F))[inside]
    return float(np.percentile(detail, _SHARPNESS_PERCENTILE)) if detail.size else 0.0


def _shadow(alpha: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the alpha moved aside and down, and blurred."""
    size = max(alpha.shape)
    shift = np.float32([[1, 0, rng.uniform(-0.05, 0.05)], [0, 1, rng.uniform(0, 0.05)]])
    shift[:, 2] *= size
    return _blur(cv2.warpAffine(alpha, shift, alpha.shape[::-1]), rng.uniform(0.005, 0.03) * size)


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma > 0.1 else image
