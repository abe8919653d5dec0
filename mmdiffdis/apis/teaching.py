"""Masks of a model as ground truth, kept where it agrees with given masks or is sure."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..datasets.converting import write_pair
from ..datasets.pairing import image_files, match_stems
from ..images.panels import to_grey
from ..images.reading import read_image
from ..images.values import to_alpha
from ..utils.files import record_settings, stem_of
from .decoding import IMAGE_ERRORS, reason
from .inference import DISInferencer
from .inputs import find_pictures, name_results

_VERDICTS = 'verdicts.csv'
_LOW, _HIGH = 0.25, 0.75  # probabilities between which the model does not decide


@dataclass(frozen=True)
class Verdict:
    """Decision on the mask of one photograph.

    Attributes:
        photograph: Its path.
        is_kept: Whether mask and photograph are kept.
        reason: The number that decided, e.g. 'sureness 0.812'.
    """

    photograph: str
    is_kept: bool
    reason: str


def agreement(mask: np.ndarray, other: np.ndarray, threshold: float = 0.5) -> float:
    """Returns the intersection over union of what two masks have above a threshold.

    Example:
        >>> agreement(np.array([[1, 1, 0]]), np.array([[1, 0, 0]]))
        0.5
    """
    found, expected = mask > threshold, other > threshold
    union = np.count_nonzero(found | expected)
    return float(np.count_nonzero(found & expected) / union) if union else 0.0


def sureness(mask: np.ndarray) -> float:
    """Returns the share of a mask above a low threshold that is above a high one as well.

    It is 1 if nothing is grey, and 0 if nothing is white.

    Source: the stability score of Kirillov et al., Segment Anything, 2023.

    Example:
        >>> sureness(np.array([[1, 0.9, 0.5, 0.2]]))
        0.6666666666666666
    """
    low = np.count_nonzero(mask > _LOW)
    return float(np.count_nonzero(mask > _HIGH) / low) if low else 0.0


def teach(
    inferencer: DISInferencer,
    photographs: list[str],
    out: Path,
    given: Path | None = None,
    least_agreement: float = 0.8,
    least_sureness: float = 0.9,
    batch_size: int = 1,
    settings: dict | None = None,
) -> tuple[list[Verdict], list[str]]:
    """Writes photographs and the masks that a model predicts for them to `out`/im and `out`/gt.

    A mask is kept if it agrees with the given one; of a photograph without any, if the model is
    sure. Verdicts are appended to `out`/verdicts.csv; photographs that have one are passed over.

    Args:
        inferencer: The teacher.
        photographs: Files, folders and glob patterns.
        out: Folder of the results.
        given: Folder of masks, drawn by hand or by another model, named after the photographs.
        least_agreement: Smallest intersection over union with a given mask.
        least_sureness: Smallest `sureness`.
        batch_size: Number of photographs that the network takes at once.
        settings: Further settings that decide the results, the same in each run into `out`.

    Returns:
        The verdicts of this run and of earlier ones, and 'file: reason' of what cannot be read.

    Raises:
        FileNotFoundError: If there are no photographs or no given masks.
        ValueError: If `out` holds results of other settings, or if two photographs have one name.
    """
    sources = find_pictures(photographs)
    stems = {
        path: result.stem
        for path, result in zip(sources, name_results(sources, out / 'gt'), strict=True)
    }
    masks = dict(image_files(given)) if given else {}
    if given and not masks:
        raise FileNotFoundError(f"no masks in '{given}'")
    partners = match_stems([stem_of(path) for path in sources], masks)
    limits = {'least_agreement': least_agreement, 'least_sureness': least_sureness}
    record_settings({**(settings or {}), **limits, 'given': given}, out)
    verdicts, skipped = _read(out / _VERDICTS), []
    known = {verdict.photograph for verdict in verdicts}
    remaining = [path for path in sources if str(path) not in known]

    def skip(name: str | Path, error: Exception) -> None:
        skipped.append(f'{name}: {reason(error)}')

    results = inferencer(iter(remaining), batch_size=batch_size, on_error=skip)
    for result in tqdm(results, total=len(remaining), unit='image'):
        source = remaining[result.index]
        partner = partners.get(stem_of(source))
        try:
            if partner:
                other = to_alpha(read_image(str(masks[partner])))
                if other.shape != result.mask.shape:
                    raise ValueError(f"'{masks[partner]}' has another size")
                name, score = 'agreement', agreement(result.mask, other)
            else:
                name, score = 'sureness', sureness(result.mask)
            verdict = Verdict(str(source), score >= limits[f'least_{name}'], f'{name} {score:.3f}')
            if verdict.is_kept:
                write_pair(out, stems[source], source, to_grey(result.mask))
        except IMAGE_ERRORS as error:
            skip(source, error)
            continue
        with (out / _VERDICTS).open('a', newline='', encoding='utf-8') as file:
            csv.writer(file).writerow((source, int(verdict.is_kept), verdict.reason))
        verdicts.append(verdict)
    return verdicts, skipped


def _read(path: Path) -> list[Verdict]:
    if not path.exists():
        return []
    with path.open(newline='', encoding='utf-8') as file:
        rows = [row for row in csv.reader(file) if len(row) == 3]  # the last may be torn
    return [Verdict(name, kept == '1', reason) for name, kept, reason in rows]
