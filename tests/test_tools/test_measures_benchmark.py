"""tools/benchmarks/measures.py: both sides measure the same, and tables are made of it."""

import cv2
import numpy as np
import pytest
from conftest import load_tool

from mmdiffdis.evaluation import MEASURES, measure_image

tool = load_tool('benchmarks/measures.py')


@pytest.fixture(autouse=True)
def _threads_as_before():
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


def library_values(classes, prediction, truth):
    """All numbers that PySODMetrics gives; of curves, the largest and the mean."""
    values, found = [], []
    for create in classes:
        measure = create()
        measure.step(prediction, truth, normalize=False)
        found.append(measure.get_results())
    while found:
        value = found.pop()
        if isinstance(value, dict):
            found += value.values()
        elif value is not None:
            values += [np.max(value), np.mean(value)]
    return np.array(values)


@pytest.mark.filterwarnings('ignore::RuntimeWarning')
@pytest.mark.parametrize('name', tool.GROUPS)
def test_pysodmetrics_measures_everything_that_ours_does(name):
    """Else a ratio of times would be one of different work."""
    prediction, mask = tool.draw_pair(0, 64)
    assert (mask > 127).any() and len(np.unique(prediction)) > 20
    prediction, truth = prediction / 255, mask > 127
    measures, classes = tool.GROUPS[name]
    theirs = library_values(classes, prediction, truth)
    for measure, ours in measure_image(prediction, truth, measures).items():
        assert np.abs(theirs - np.max(ours)).min() < 1e-6, measure


def test_every_measure_that_pysodmetrics_has_is_compared():
    compared = {measure for measures, _ in tool.GROUPS.values() for measure in measures}
    assert set(MEASURES) - compared == {'BIoU'}


def test_tables(capsys):
    tool.main(['--side', '64', '--masks', '1', '--rounds', '2', '--workers', '1', '--pairs', '2'])
    speed, scaling = capsys.readouterr().out.strip().split('\n\n')
    assert [line.split(' | ')[0].strip('| ') for line in speed.splitlines()[2:]] == list(
        tool.GROUPS
    )
    assert scaling.splitlines()[2].startswith('| 1 | 2 | ')
