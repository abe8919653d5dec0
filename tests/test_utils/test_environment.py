"""Emulated number formats, and failures of the compiler."""

from types import SimpleNamespace

import pytest
import torch

from mmdiffdis.utils import environment


@pytest.mark.parametrize(('slower', 'expected'), [(1, False), (100, True)])
def test_emulated_precision_takes_more_than_twice_the_time(monkeypatch, slower, expected):
    steps = [1] * 4 + [slower] * 4
    clock = iter([second for step in steps for second in (0, step)])
    monkeypatch.setattr(environment, 'time', SimpleNamespace(perf_counter=lambda: next(clock)))
    assert environment.is_emulated.__wrapped__(torch.bfloat16) is expected


def test_failure_of_the_compiler_is_explained_in_one_line(monkeypatch):
    def compiled(*_):
        raise RuntimeError('\nNo working C++ compiler\nmore lines')

    monkeypatch.setattr(torch, 'compile', lambda function: compiled)
    with pytest.raises(
        ValueError, match=r'not work on cpu \(No working C\+\+ compiler\): install a'
    ):
        environment.check_compiler('cpu')
