"""Functions that several test modules share."""

import runpy
import sys

import pytest
from conftest import ROOT
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

TRAIN = ROOT / 'tools' / 'train.py'


def train(monkeypatch, *arguments) -> None:
    """Runs tools/train.py in this process."""
    for manager in (DefaultScope, MessageHub, MMLogger, Visualizer):
        manager._instance_dict.clear()  # instances are named after the time in seconds
    monkeypatch.setattr(sys, 'argv', [str(TRAIN), *map(str, arguments)])
    runpy.run_path(str(TRAIN), run_name='__main__')


def training_error(monkeypatch, capsys, *arguments) -> str:
    """Returns the one line that tools/train.py ends with."""
    with pytest.raises(SystemExit) as caught:
        train(monkeypatch, *arguments)
    message = caught.value.code
    if isinstance(message, int):  # argparse prints the message itself
        message = capsys.readouterr().err.strip().splitlines()[-1]
    assert len(message.splitlines()) == 1
    assert message.startswith('train.py: error: ')
    return message
