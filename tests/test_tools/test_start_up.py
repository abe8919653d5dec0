"""Tools parse their arguments before they import anything outside of the standard library."""

import subprocess
import sys

import pytest
from conftest import ROOT

TOOLS = (
    'analysis_tools/run_ablation.py',
    'analysis_tools/training_memory.py',
    'benchmarks/training.py',
    'demo.py',
    'deployment/export_onnx.py',
    'model_converters/onnx_to_mmseg.py',
    'train.py',
)


@pytest.mark.parametrize('tool', TOOLS)
def test_help_needs_the_standard_library_alone(tool):
    command = [sys.executable, '-I', '-S', ROOT / 'tools' / tool, '--help']  # no site-packages
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith('usage: ')
