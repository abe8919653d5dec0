"""tools/benchmarks/gpu.py: parts rehearsed on the CPU; a failing part loses no other's rows."""

import json

import pytest
from conftest import load_tool

tool = load_tool('benchmarks/gpu.py')


def rows(folder, part):
    return [json.loads(line) for line in (folder / f'{part}.jsonl').read_text().splitlines()]


@pytest.mark.slow
def test_each_part_writes_its_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(tool, 'TRAININGS', ('reference', 'amp+fused_optimizer+latents'))
    for part in ('device', 'latency', 'profile', 'training', 'agreement'):
        arguments = ['--out', str(tmp_path), '--rehearse', '--only', 'edge', '--in-process', part]
        tool.main(arguments)
    edge, stages = rows(tmp_path, 'latency')
    assert edge['batch'] == 1 and edge['median_ms'] > 0 and edge['tflop'] > 0
    assert stages['encode_ms'] > 0 and stages['decode_ms'] > 0
    everything, *kernels = rows(tmp_path, 'profile')
    assert everything['share'] == 1 and sum(row['share'] for row in kernels) <= 1.001
    reference, latents = rows(tmp_path, 'training')
    assert reference['encode_s'] > 0 and latents['encode_s'] < 1e-3
    agreement = {row['config']: row for row in rows(tmp_path, 'agreement')}
    assert float(agreement[tool.TINY]['float32_max']) == 0
    assert float(agreement['float32, with the edge']['float32_max']) == 0
    tool.write_report(tmp_path)
    assert '## agreement' in (tmp_path / 'gpu.md').read_text()


def test_a_part_that_fails_is_a_row_and_the_others_run(tmp_path, monkeypatch, capsys):
    states = {'device': 'exit code 1, see device.log', 'latency': 'complete'}
    monkeypatch.setattr(tool, 'run_process', lambda part, *_: states[part])
    tool.main(['--out', str(tmp_path), '--rehearse', '--parts', *states])
    assert [row['ended'] for row in rows(tmp_path, 'parts')] == [*states.values()]
    assert '| device | exit code 1' in capsys.readouterr().out


def test_a_part_without_time_is_not_started(tmp_path, monkeypatch):
    monkeypatch.setattr(tool, 'run_process', lambda *_: pytest.fail('started'))
    tool.main(['--out', str(tmp_path), '--budget', '0', '--parts', 'device'])
    assert rows(tmp_path, 'parts')[0]['ended'] == 'no time'


def test_a_part_is_stopped_at_its_limit(tmp_path):
    assert (
        tool.run_process('device', ['--out', str(tmp_path)], tmp_path, 0.1) == 'stopped after 0 s'
    )
