"""tools/analysis_tools/protocol_effects.py on two small synthetic masks."""

import pytest

from tools.analysis_tools import protocol_effects as tool


@pytest.mark.slow
def test_table_has_each_variant(capsys):
    tool.main(['--num', '2', '--size', '64', '--measures', 'MAE', 'IoU'])
    lines = capsys.readouterr().out.splitlines()
    cells = {line.split(' | ')[0].strip('| '): line.strip('| ').split(' | ') for line in lines[2:]}
    assert set(tool.VARIANTS) < set(cells)
    assert cells['not in 8 bits'][3] == cells['binarised at 0.5 (`binary`)'][3] == '+0.0000'
    assert float(cells['binarised at 0.5 (`binary`)'][2]) != 0  # MAE changes, IoU does not
