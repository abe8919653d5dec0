"""Measurements of tools/benchmarks/serving.py."""

import pytest
from conftest import load_tool

pytest.importorskip('fastapi_offline')
tool = load_tool('benchmarks/serving.py')


@pytest.mark.slow
def test_clients_get_the_cutouts_of_predict(
    stock_config, stock_checkpoint, write_set, tmp_path, capsys
):
    config = stock_config(2)
    images = write_set(tmp_path, 'photos', stems=('a', 'b')) / 'photos' / 'im'
    model = f'{config}:{stock_checkpoint(config)}'
    tool.main([model, '--images', str(images), '--copies', '2', '--clients', '1', '3'])
    rows = [
        line.strip('| ').split('|') for line in capsys.readouterr().out.strip().splitlines()[2:]
    ]
    names = [row[0].strip() for row in rows]
    assert names == ['predict', '1 clients', '3 clients']
    for _, rate, median, high, differs in rows[1:]:
        assert float(rate) > 0 and float(median) <= float(high) and int(differs) <= 1


def test_numbers_that_are_not_positive_are_refused(capsys):
    with pytest.raises(SystemExit):
        tool.parse_args(['--clients', '0'])
    assert 'expected at least 1' in capsys.readouterr().err
