"""mmdiffdis.evaluation.report: details that no other test of a report covers."""

import numpy as np
from matplotlib.figure import Figure

from mmdiffdis.evaluation.folders import Settings
from mmdiffdis.evaluation.report import plot_curves, write_tables


def test_legend_has_every_name(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, 'savefig', lambda figure, *_, **__: figures.append(figure))
    curve = np.linspace(0, 1, 256)
    curves = {name: {'precision': curve, 'recall': curve, 'F': curve} for name in ('_a', 'b_$c$')}
    plot_curves(curves, 'title', tmp_path / 'curves.png')
    for axis in figures[0].axes:
        texts = [text.get_text() for text in axis.get_legend().get_texts()]
        assert texts == [' _a', r'b_\$c\$']


def test_ground_truths_without_foreground_are_counted(tmp_path):
    result = {'metrics': {'MAE': 0.1}, 'images': 3, 'empty': 0}
    settings = Settings('soft', ('MAE',))
    assert 'without foreground' not in write_tables({'a': result}, settings, tmp_path)
    text = write_tables({'a': {**result, 'empty': 2}}, settings, tmp_path)
    assert '2 ground truth(s) without foreground, for which maxF and wF are 0' in text
