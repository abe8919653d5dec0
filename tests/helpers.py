"""Functions that several test modules share."""

import runpy
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import ROOT
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from mmseg.visualization import SegLocalVisualizer

TRAIN = ROOT / 'tools' / 'train.py'


def train(monkeypatch, *arguments) -> None:
    """Runs tools/train.py in this process."""
    for manager in (DefaultScope, MessageHub, MMLogger, Visualizer, SegLocalVisualizer):
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


@contextmanager
def locked_by_another_process(path: Path) -> Iterator[None]:
    """Holds the lock of a file in a process that imports next to nothing, until it is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    program = (
        'import fcntl, sys\n'
        'file = open(sys.argv[1], "a")\n'
        'fcntl.lockf(file, fcntl.LOCK_EX)\n'
        'print(flush=True)\n'
        'sys.stdin.read()\n'
    )
    command = [sys.executable, '-S', '-c', program, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.communicate()


@contextmanager
def serving(tool: str, *arguments, log: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """Runs a tool that serves until the block ends; yields its process and address."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    address = f'http://127.0.0.1:{port}'
    command = [sys.executable, ROOT / 'tools' / tool, *arguments, '--port', port, '--device', 'cpu']
    with log.open('w') as output:
        process = subprocess.Popen([*map(str, command)], stdout=output, stderr=output)
    try:
        while True:
            try:
                urllib.request.urlopen(address)
            except urllib.error.HTTPError:  # it answers
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                time.sleep(0.2)
            else:
                break
        yield process, address
    finally:
        process.kill()
        process.wait()
