"""Command lines: errors in one line, and output on any console."""

import io
import sys

import pytest
from conftest import ROOT

from mmdiffdis.cli import one_line_errors

# gpu.py must not depend on what it measures; measures.py prints numbers; zoo.py does not import the
# package; ComfyUI's node is no command line.
WITHOUT_OWN_ERRORS = {'gpu.py', 'measures.py', 'zoo.py', '__init__.py'}


@pytest.mark.parametrize('encoding', ['ascii', 'cp1252', 'utf-8'])
def test_characters_that_the_console_lacks_are_escaped(encoding, monkeypatch):
    console = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, 'stdout', console)
    with one_line_errors():
        print('\u732b \udce9')  # a letter, and a byte of a file name that is not UTF-8
    console.flush()
    shown = console.buffer.getvalue().decode(encoding).strip()
    assert shown == ('\u732b' if encoding == 'utf-8' else r'\u732b') + r' \udce9'


def test_every_tool_reports_in_this_way():
    lacking = {
        path.name
        for path in (ROOT / 'tools').rglob('*.py')
        if 'one_line_errors' not in path.read_text(encoding='utf-8')
    }
    assert lacking == WITHOUT_OWN_ERRORS
