"""Reports on scored folders of masks: tables, curves and worst images."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..images.panels import row, stack_rows
from ..images.reading import read_rgb
from ..utils.environment import versions
from ..utils.files import save_json
from ..utils.tables import format_scores, latex, latex_text, markdown
from .counts import LEVELS
from .folders import (
    MaskPair,
    Settings,
    Store,
    files_by_stem,
    load_prediction,
    read_ground_truth,
    score_set,
)
from .metrics import MEASURES
from .protocol import describe_empty, protocol_text

_LISTED = 20  # problems of a kind that are printed
# Rows of worst.jpg are at most 354 pixels high, and a JPEG at most 65500.
_ROWS_PER_FILE = 150
_PROBLEMS = {
    'duplicate': 'files with the stem of another file',
    'missing': 'ground truths without a mask',
    'extra': 'masks without a ground truth',
    'size': 'masks of another size than their ground truth',
    'unreadable': 'files that cannot be read',
}


def describe_problems(
    problems: Mapping[str, Mapping[str, Sequence[str]]], ways_out: Mapping[str, str] | None = None
) -> str:
    """Returns a text that lists the first problems of each model and kind.

    Args:
        problems: Model -> kind of problem -> what has it.
        ways_out: Kind of problem -> way out to be named.
    """
    lines = []
    for model, kinds in problems.items():
        for kind, items in kinds.items():
            way_out = f'; {ways_out[kind]}' if ways_out else ''
            lines.append(f'{model}: {len(items)} {_PROBLEMS[kind]}{way_out}')
            lines += [f'  {item}' for item in items[:_LISTED]]
            if len(items) > _LISTED:
                lines.append(f'  and {len(items) - _LISTED} more')
    return '\n'.join(lines)


def write_tables(results: Mapping[str, Mapping], settings: Settings, folder: Path) -> str:
    """Writes table.md, table.csv and table.tex, best scores in bold; returns the Markdown.

    Args:
        results: Model -> 'metrics' (name -> score), 'images' (number of images), and 'empty' (how
            many of them have a ground truth without foreground).
        settings: Settings of the scores.
        folder: Where the files go.
    """
    header = ['model', 'images', *settings.metrics]
    title = protocol_text(settings.record())
    if settings.missing:
        title += f'; missing masks: {settings.missing}'
    if empty := max(result['empty'] for result in results.values()):
        title += f'; {describe_empty(empty)}'

    def cells(bold: str, escape=str) -> list[tuple[str, ...]]:
        columns = [
            [escape(model) for model in results],
            [result['images'] for result in results.values()],
        ]
        for name in settings.metrics:
            scores = [result['metrics'][name] for result in results.values()]
            metric = MEASURES[name]
            columns.append(format_scores(scores, metric.decimals, metric.lower_is_better, bold))
        return list(zip(*columns, strict=True))

    text = f'{title}\n\n{markdown(header, cells("**{}**"))}\n'
    (folder / 'table.md').write_text(text, encoding='utf-8')
    table = latex(header, cells(r'\textbf{{{}}}', latex_text))
    (folder / 'table.tex').write_text(f'% {title}\n{table}\n', encoding='utf-8')
    with (folder / 'table.csv').open('w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow([*header, 'protocol'])
        for model, result in results.items():
            scores = [result['metrics'][name] for name in settings.metrics]
            writer.writerow([model, result['images'], *scores, title])
    return text


def plot_curves(curves: Mapping[str, Mapping[str, np.ndarray]], title: str, path: Path) -> None:
    """Plots precision over recall, and F-measure over the threshold, of all models.

    Args:
        curves: Model -> 'precision', 'recall' and 'F', each [256], from threshold 255 down to 0.
        title: Title of the plot.
        path: Image file to write.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.4), layout='constrained')
    left, right = figure.subplots(1, 2)
    for model, curve in curves.items():
        # matplotlib takes $ for mathematics and leaves out names that begin with _
        label = model.replace('$', r'\$')
        label = f' {label}' if label.startswith('_') else label
        left.plot(curve['recall'], curve['precision'], label=label)
        right.plot(np.arange(LEVELS)[::-1], curve['F'], label=label)
    left.set(xlabel='recall', ylabel='precision', xlim=(0, 1.01), ylim=(0, 1.01))
    right.set(xlabel='threshold (of 255)', ylabel='F-measure', ylim=(0, 1.01))
    for axis in (left, right):
        axis.grid(alpha=0.3)
        axis.legend()
    figure.suptitle(title, fontsize=9)
    figure.savefig(path, dpi=120)


def save_worst(
    pairs: Sequence[MaskPair], store: Store, settings: Settings, images: Path | None, count: int
) -> list[str]:
    """Writes worst.jpg to the store's folder: the worst images by the first metric.

    Each row has the mask, the ground truth, their difference (red: false positives, blue: missed)
    and, if there is one, the image. Rows that do not fit go to worst_2.jpg and so on. Nothing is
    written without rows.

    Args:
        pairs: Pairs of the model; those that the store lacks are left out.
        store: Results of the model.
        settings: Settings of the results.
        images: Folder of images, paired by stem.
        count: Largest number of rows.

    Returns:
        A text for each image of a row that is missing in `images` or cannot be read.
    """
    metric = settings.metrics[0]
    worst = sorted(
        (pair for pair in pairs if pair.stem in store.values),
        key=lambda pair: store.values[pair.stem][metric],
        reverse=MEASURES[metric].lower_is_better,
    )[:count]
    for path in store.folder.glob('worst*.jpg'):
        path.unlink()  # there may be fewer this time
    image_paths = files_by_stem(images)[0] if images else {}
    left_out = []
    rows = []
    for pair in worst:
        gt = read_ground_truth(pair.gt)
        mask = load_prediction(pair, gt.shape, settings)
        difference = np.stack([mask, np.minimum(mask, gt), gt], axis=2)
        parts = {
            f'{metric} {store.values[pair.stem][metric]:.3f}, {pair.stem}': mask,
            'ground truth': gt,
            'difference': np.rint(difference * 255).astype(np.uint8),
        }
        if pair.stem in image_paths:
            try:
                parts['image'] = read_rgb(str(image_paths[pair.stem]))
            except (OSError, ValueError) as error:
                left_out.append(str(error))
        elif images:
            left_out.append(f"'{images}' has no image '{pair.stem}'")
        rows.append(row(parts, max_side=320))
    for start in range(0, len(rows), _ROWS_PER_FILE):
        number = f'_{start // _ROWS_PER_FILE + 1}' if start else ''
        sheet = stack_rows(rows[start : start + _ROWS_PER_FILE], gap=8)
        Image.fromarray(sheet).save(store.folder / f'worst{number}.jpg', quality=92)
    return left_out


def write_report(
    out: Path,
    gt: Path,
    folders: Mapping[str, Path],
    stores: Mapping[str, Store],
    problems: Mapping[str, Mapping[str, Sequence[str]]],
    settings: Settings,
) -> str:
    """Writes all results to `out`, then tables and curves to the folder `out` without suffix.

    Args:
        out: JSON file.
        gt: Folder of the ground truth.
        folders: Model -> folder of its masks.
        stores: Model -> its results.
        problems: Model -> kind of problem -> what has it; empty if there is none.
        settings: Settings of the results.

    Returns:
        The table in Markdown.

    Raises:
        ValueError: If no image of a model was scored.
    """
    results, curves = {}, {}
    for model, store in stores.items():
        if not store.values:
            raise ValueError(f'no image of {model} could be scored')
        scores, curves[model], empty = score_set(store)
        results[model] = {
            'metrics': scores,
            'images': len(store.values),
            'empty': empty,
            'pred': str(folders[model]),
            'problems': problems[model],
        }
    record, folder = settings.record(), out.with_suffix('')
    content = {'models': results, 'gt': str(gt), 'protocol': record, 'versions': versions()}
    save_json(content, out)
    table = write_tables(results, settings, folder)
    plot_curves(curves, protocol_text(record), folder / 'curves.png')
    return table
