"""tools/analysis_tools/protocol_effects.py, on two small drawings."""

from tools.analysis_tools import protocol_effects as tool


def test_table_has_each_knob(monkeypatch, capsys):
    arguments = ['--num', '2', '--size', '64', '--measures', 'MAE', 'IoU']
    monkeypatch.setattr('sys.argv', ['protocol_effects.py', *arguments])
    tool.main()
    lines = capsys.readouterr().out.splitlines()
    cells = {line.split(' | ')[0].strip('| '): line.strip('| ').split(' | ') for line in lines[2:]}
    assert set(tool.VARIANTS) < set(cells)
    assert cells['not in 8 bits'][3] == cells['binarised at 0.5 (`binary`)'][3] == '+0.0000'
    assert float(cells['binarised at 0.5 (`binary`)'][2]) != 0  # MAE moves, IoU does not
