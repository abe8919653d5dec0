"""Scores of tools/test.py, and the runner that it drives."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT, load_tool
from mmengine.config import Config
from mmengine.runner import Runner

import mmdiffdis.models.tta  # noqa: F401, registers DISTTAModel

tool = load_tool('test.py')


@pytest.fixture
def score(tmp_path, stock_config, stock_checkpoint, monkeypatch):
    """Runs the tool on a small segmentor; returns what it wrote."""
    monkeypatch.setenv('LOCAL_RANK', '0')

    def run(*arguments: str, channels: int = 2) -> dict:
        config = stock_config(channels)
        out = tmp_path / 'scores' / 'test.json'
        work_dir = str(tmp_path / 'work')
        options = ['--out', str(out), '--work-dir', work_dir, *arguments]
        tool.main([str(config), str(stock_checkpoint(config)), *options])
        return json.loads(out.read_text())

    return run


@pytest.mark.parametrize('channels', [1, 2])
def test_scores_are_saved_with_what_they_depend_on(score, tmp_path, channels):
    written = score(channels=channels)
    assert set(written['metrics']) == {'maxF', 'wF', 'E', 'S', 'MAE'}
    assert all(0 <= value <= 1.001 for value in written['metrics'].values())
    assert written['images'] == 3 and written['seed'] == 7 and written['tta'] is False
    assert written['config'].endswith(f'fcn_{channels}.py')
    assert written['checkpoint'].endswith(f'fcn_{channels}.pth')
    (protocol,) = written['protocol']
    assert protocol['protocol'] == 'soft' and protocol['binarise'] is None
    assert [step['type'] for step in written['pipeline']][1] == 'DISResize'
    assert {'torch', 'mmengine', 'mmsegmentation', 'opencv-python'} <= set(written['versions'])
    panels = sorted(path.name for path in (tmp_path / 'work' / 'panels' / 'test').iterdir())
    assert panels == ['a.jpg', 'b #1.jpg']


@pytest.mark.slow
@pytest.mark.parametrize('channels', [1, 2])
def test_tta_is_recorded_and_changes_the_scores(score, channels):
    plain, augmented = score(channels=channels), score('--tta', channels=channels)
    assert augmented['tta'] == {
        'passes': 4,
        'sizes': [[48, 48], [64, 64]],
        'type': 'DISTTAModel',
        'min_max': True,
        'scale': None,
    }
    assert augmented['seed'] == 7 and augmented['images'] == 3
    assert augmented['metrics'] != plain['metrics']
    assert augmented['metrics']['MAE'] < 0.99  # mmseg's own merge makes all pixels foreground


def test_training_set_is_not_needed(score, capsys):
    option = 'train_dataloader.dataset.data_root=nowhere'
    assert score('--cfg-options', option, 'log_level=ERROR')['images'] == 3
    assert f'without effect on this test: --cfg-options {option}\n' in capsys.readouterr().err


@pytest.mark.parametrize('workers', [0, 1])
def test_damaged_mask_ends_the_test_in_one_line(score, tmp_path, write_set, workers):
    root = write_set(tmp_path / 'damaged')
    mask = root / 'DIS-VD' / 'gt' / 'b.png'
    content = bytearray(mask.read_bytes())
    content[len(content) // 2] ^= 255
    mask.write_bytes(content)
    loader = 'test_dataloader'
    options = f'{loader}.num_workers={workers}', f'{loader}.dataset.data_root={root}'
    with pytest.raises(SystemExit, match=r"error: .*cannot read '.*/gt/b.png' as an image"):
        score('--cfg-options', *options)


def test_option_that_the_command_decides_is_refused(score):
    for option, argument in (('load_from=x', 'CKPT'), ('work_dir=x', '--work-dir')):
        with pytest.raises(SystemExit, match=f'{option} changes nothing: {argument} decides it'):
            score('--cfg-options', option)


def test_options_change_the_protocol(score):
    written = score('--cfg-options', 'test_evaluator.protocol=diffdis')
    assert written['protocol'][0]['protocol'] == 'diffdis'


def test_weights_that_do_not_fit_end_the_test(stock_config, tmp_path):
    torch.save({'state_dict': {'other.weight': torch.zeros(1)}}, tmp_path / 'x.pth')
    with pytest.raises(SystemExit, match=r'x\.pth does not fit.*other\.weight'):
        arguments = ['--work-dir', str(tmp_path / 'work'), '--out', str(tmp_path / 'out.json')]
        tool.main([str(stock_config(2)), str(tmp_path / 'x.pth'), *arguments])
    assert not (tmp_path / 'out.json').exists()


@pytest.mark.parametrize(
    'tool',
    [
        'test',
        'predict',
        'analysis_tools/benchmark',
        'analysis_tools/get_flops',
        'analysis_tools/noise_variance',
    ],
)
def test_help_needs_no_package(tool):
    """Within a second; an import of torch or MMEngine alone would take longer."""
    code = (
        'import runpy, sys\n'
        "sys.argv = ['tool', '--help']\n"
        'try:\n'
        f'    runpy.run_path({str(ROOT / "tools" / f"{tool}.py")!r}, run_name="__main__")\n'
        'finally:\n'
        "    print({'mmdiffdis', 'torch', 'mmengine', 'numpy', 'cv2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith('usage: ') and done.stdout.rstrip().endswith('set()')


@pytest.mark.parametrize(
    ('change', 'arguments', 'message'),
    [
        ('config', [], r'config .*nowhere\.py does not exist'),
        (
            'checkpoint',
            [],
            r'nowhere\.pth does not exist; .* one of u2netp, diffdis_small, diffdis_tiny',
        ),
        (None, ['--out', '{tmp}'], 'is a folder: expected the name of a file'),
        (None, ['--out', '{tmp}/fcn_2.py/scores.json'], 'choose another --out'),
        (None, ['--tta', '--cfg-options', 'tta_model=None'], 'does not define tta_model'),
        (
            None,
            ['--cfg-options', 'test_dataloader.dataset.data_root=nowhere'],
            r'no folder nowhere/DIS-VD/im',
        ),
    ],
)
def test_mistakes_end_in_one_line(
    stock_config, stock_checkpoint, tmp_path, change, arguments, message
):
    config = stock_config(2)
    checkpoint = stock_checkpoint(config)
    config = 'nowhere.py' if change == 'config' else config
    checkpoint = 'nowhere.pth' if change == 'checkpoint' else checkpoint
    arguments = [argument.replace('{tmp}', str(tmp_path)) for argument in arguments]
    with pytest.raises(SystemExit, match=f'error: .*{message}') as caught:
        work_dir = ['--work-dir', str(tmp_path / 'work')]
        tool.main([str(config), str(checkpoint), *work_dir, *arguments])
    assert '\n' not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize('channels', [1, 2])
def test_stock_segmentor_trains_and_its_best_checkpoint_is_kept(stock_config, tmp_path, channels):
    """Data set, transforms, metric, panels and `save_best` in MMEngine's training loop."""
    cfg = Config.fromfile(stock_config(channels))
    cfg.work_dir = str(tmp_path / 'work')
    runner = Runner.from_cfg(cfg)
    before = runner.model.decode_head.conv_seg.weight.detach().clone()
    runner.train()
    assert not torch.equal(runner.model.decode_head.conv_seg.weight, before)
    assert np.isfinite(runner.message_hub.get_scalar('train/loss').data[0]).all()
    assert len(list((tmp_path / 'work').glob('best_maxF_iter_2.pth'))) == 1
    assert sorted(path.name for path in (tmp_path / 'work' / 'panels' / 'iter_2').iterdir()) == [
        'a.jpg',
        'b #1.jpg',
    ]
