"""mmdiffdis.evaluation.report: details that no other test of a report covers."""

import numpy as np
from matplotlib.figure import Figure

from mmdiffdis.evaluation.report import plot_curves


def test_legend_has_every_name(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, 'savefig', lambda figure, *_, **__: figures.append(figure))
    curve = np.linspace(0, 1, 256)
    curves = {name: {'precision': curve, 'recall': curve, 'F': curve} for name in ('_a', 'b_$c$')}
    plot_curves(curves, 'title', tmp_path / 'curves.png')
    for axis in figures[0].axes:
        texts = [text.get_text() for text in axis.get_legend().get_texts()]
        assert texts == [' _a', r'b_\$c\$']
