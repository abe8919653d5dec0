"""Table and messages of tools/analysis_tools/get_flops.py."""

from pathlib import Path

import pytest
from conftest import load_tool, tiny_config
from mmengine.config import Config, ConfigDict

from mmdiffdis.apis.flops import build_on_meta, count_cost

tool = load_tool('analysis_tools/get_flops.py')


@pytest.fixture
def config(tmp_path) -> str:
    path = tmp_path / 'small.py'
    Config(dict(model=tiny_config())).dump(path)
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize('edge', [False, True])
def test_table_adds_up_and_names_its_maps(config, edge, capsys):
    tool.main([config, '--shape', '64', '128', *(['--edge'] if edge else [])])
    header, _, *table = capsys.readouterr().out.strip().splitlines()
    maps = 'mask and edge' if edge else 'mask'
    assert header.startswith(f'**small**, {maps} of one 64x128 image')
    assert header.endswith('multiply-add = 2 FLOP')
    *parts, total = [[cell.strip() for cell in line.split('|')[1:-1]] for line in table[2:]]
    assert total[0] == 'total'
    for column in (1, 2):
        assert sum(float(row[column]) for row in parts) == pytest.approx(
            float(total[column]), abs=0.03 if column == 1 else 1e-6
        )
    expected = count_cost(
        build_on_meta(ConfigDict(tiny_config(test_cfg=dict(edge=edge)))), (64, 128)
    )
    assert float(total[2]) == pytest.approx(expected.total_flop / 1e12, rel=1e-3)


def test_stock_segmentor(stock_config, capsys):
    tool.main([str(stock_config(2)), '--shape', '64', '64'])
    assert '| decode_head |' in capsys.readouterr().out


@pytest.mark.slow
def test_options_of_the_config(config, capsys):
    arguments = [config, '--shape', '64', '64']
    tool.main(arguments)
    options = ['model.neck.interaction=None'], ['model.backbone.swci=None']
    tool.main([*arguments, *(text for pair in options for text in ('--cfg-options', *pair))])
    plain, changed = (
        float(line.split('|')[2])
        for line in capsys.readouterr().out.splitlines()
        if line.startswith('| total')
    )
    assert changed < plain


def test_mistakes_end_in_one_line(config, stock_config):
    with pytest.raises(SystemExit, match='error: .*predicts no edges: leave out --edge'):
        tool.main([str(stock_config(2)), '--shape', '64', '64', '--edge'])
    with pytest.raises(SystemExit, match='error: images of 60x64 pixels: expected both sides'):
        tool.main([config, '--shape', '60', '64'])
    with pytest.raises(SystemExit, match='--shape 0 64: expected two positive numbers'):
        tool.main([config, '--shape', '0', '64'])
    with pytest.raises(SystemExit, match="got 'edge', expected KEY=VALUE"):
        tool.main([config, '--shape', '64', '64', '--cfg-options', 'model.edge=False', 'edge'])
    with pytest.raises(SystemExit, match='nowhere.py does not exist'):
        tool.main([str(Path('nowhere.py')), '--shape', '64', '64'])
