"""tools/benchmarks/training.py: parts of a training step, for two variants."""

import json

import cv2
import pytest
import torch
from conftest import ROOT, load_tool

tool = load_tool('benchmarks/training.py')

CONFIG = ROOT / 'configs/diffdis/diffdis_tiny_1xb16-1k2_synthetic-dis-128x128.py'


@pytest.fixture(autouse=True)
def _restore_threads():
    before = cv2.getNumThreads(), torch.get_num_threads()
    yield
    cv2.setNumThreads(before[0])
    torch.set_num_threads(before[1])


@pytest.mark.slow
def test_each_part_of_each_variant_is_measured(tmp_path, capsys):
    variants = ['reference', 'amp+activation_checkpointing']
    command = [str(CONFIG), '--variants', *variants, '--batch-size', '2', '--side', '64']
    out = tmp_path / 'new/results.json'
    tool.main([*command, '--steps', '1', '--rounds', '1', '--out', str(out)])
    results = json.loads(out.read_text())
    assert list(results) == variants
    for result in results.values():
        assert set(result) == {*tool.PARTS, 'step'} and min(result.values()) > 0
        parts = sum(result[part] for part in tool.PARTS[1:])
        assert result['step'] == pytest.approx(parts)
    assert '| reference | ' in capsys.readouterr().out


def test_fastest_round_counts_and_shares_are_of_the_first_variant():
    slow = dict(loader=9.0, encode=2.0, forward=4.0, backward=8.0, optimizer=2.0)
    fast = dict(loader=1.0, encode=1.0, forward=2.0, backward=4.0, optimizer=1.0, peak_gib=3.0)
    results = tool.summarise({'a': [slow, slow | {'encode': 6.0}], 'b': [slow, fast]})
    assert results['a']['step'] == 16 and results['b']['step'] == 8
    rows = tool.to_table(results).splitlines()
    assert rows[2] == '| a | 0.56 | 0.12 | 0.25 | 0.50 | 0.12 | 1.00 | 1.00 | - |'
    assert rows[3] == '| b | 0.06 | 0.06 | 0.12 | 0.25 | 0.06 | 0.50 | 2.00 | 3.0 |'


def test_unknown_option_is_one_line():
    with pytest.raises(SystemExit) as caught:
        tool.main([str(CONFIG), '--variants', 'nothing'])
    assert "option 'nothing': expected reference" in caught.value.code
