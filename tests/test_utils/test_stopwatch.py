"""Timing by a given clock."""

from mmdiffdis.utils.stopwatch import Stopwatch


def test_each_measurement_of_a_part_is_kept():
    stopwatch = Stopwatch('cpu', clock=iter([0.0, 1.0, 5.0, 5.5, 7.0, 9.0]).__next__)
    for part in ('read', 'write', 'read'):
        with stopwatch.time(part):
            pass
    assert stopwatch.seconds == {'read': [1.0, 2.0], 'write': [0.5]}
