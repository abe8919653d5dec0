"""tools/benchmarks/measures.py: both sides compute the same metrics, and tables are printed."""

import cv2
import numpy as np
import pytest
from conftest import load_tool

from mmdiffdis.evaluation import MEASURES, measure_image

tool = load_tool('benchmarks/measures.py')


@pytest.fixture(autouse=True)
def _restore_threads():
    threads = cv2.getNumThreads()
    yield
    cv2.setNumThreads(threads)


def numbers_in(results) -> list[float]:
    """All numbers in PySODMetrics' results; of curves, the largest and the mean."""
    if isinstance(results, dict | list):
        children = results.values() if isinstance(results, dict) else results
        return [number for child in children for number in numbers_in(child)]
    return [] if results is None else [np.max(results), np.mean(results)]


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore::RuntimeWarning')
def test_both_sides_compute_the_same(capsys):
    """A ratio of times would mean nothing for different work."""
    prediction, mask = tool.make_pair(0, 64)
    assert (mask > 127).any() and len(np.unique(prediction)) > 20
    prediction, gt = prediction / 255, mask > 127
    for measures, classes in tool.groups().values():
        library = np.array(numbers_in(tool.score_with_library(classes, prediction, gt)))
        for name, score in measure_image(prediction, gt, measures).items():
            assert np.abs(library - np.max(score)).min() < 1e-6, name
    compared = {name for measures, _ in tool.groups().values() for name in measures}
    assert set(MEASURES) - compared == {'BIoU'}

    tool.main(['--side', '64', '--masks', '1', '--rounds', '2', '--workers', '1', '--pairs', '2'])
    speed, scaling = capsys.readouterr().out.strip().split('\n\n')
    names = [line.split(' | ')[0].strip('| ') for line in speed.splitlines()[2:]]
    assert names == list(tool.groups())
    assert scaling.splitlines()[2].startswith('| 1 | 2 | ')
