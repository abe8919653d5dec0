"""tools/analysis_tools/run_ablation.py: what it runs, skips and reports, and its table."""

import csv
import json
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, load_tool
from mmengine.config import Config

tool = load_tool('analysis_tools/run_ablation.py')

PROTOCOL = dict(protocol='diffdis', quantise=True, min_max=True, binarise=0.5)
TTA = dict(passes=6, sizes=[[768, 768], [1024, 1024], [1280, 1280]], min_max=False, scale=None)


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


class Tools:
    """Replaces tools/train.py and tools/test.py, and records their command lines."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.failing: str | None = None
        self.protocol = PROTOCOL
        self.stretched: list[str] = []

    def run(self, command, stdout, **_) -> subprocess.CompletedProcess:
        _, script, config, *arguments = command
        self.commands.append([Path(script).name, config, *arguments])
        stdout.write(f'first line of {script}\nerror: the last line\n')
        stdout.flush()
        if self.failing and self.failing in ' '.join(command):
            return subprocess.CompletedProcess(command, 1)
        folder = Path(option(command, '--work-dir'))
        if script.endswith('train.py'):
            (folder / 'last_checkpoint').write_text(str(folder / 'iter_2.pth'))
            return subprocess.CompletedProcess(command, 0)
        seed = int(folder.parent.name.removeprefix('seed'))
        metrics = {'maxF': 0.5 + 0.1 * seed, 'MAE': 0.25, 'DIS-VD/maxF': 0.125, 'DIS-VD/MAE': 0.5}
        written = dict(
            metrics=metrics,
            protocol=[self.protocol],
            tta=TTA | {'min_max': config in self.stretched} if '--tta' in command else False,
            seed=0,
            images=3,
        )
        Path(option(command, '--out')).write_text(json.dumps(written))
        return subprocess.CompletedProcess(command, 0)


@pytest.fixture
def tools(monkeypatch) -> Tools:
    tools = Tools()
    monkeypatch.setattr(tool.subprocess, 'run', tools.run)
    return tools


@pytest.fixture
def configs(tmp_path) -> list[str]:
    paths = [tmp_path / 'one.py', tmp_path / 'two.py']
    for path in paths:
        path.write_text('model = dict(a=1)\n')
    return [str(path) for path in paths]


def test_each_config_is_trained_and_scored_once_per_seed(tools, configs, tmp_path):
    work_dir = tmp_path / 'work'
    arguments = ['--work-dir', str(work_dir), '--seeds', '0', '2', '--cfg-options', 'model.a=3']
    assert tool.main([*configs, *arguments]) == 0
    expected = [
        (script, config, f'seed{seed}')
        for config in configs
        for seed in (0, 2)
        for script in ('train.py', 'test.py')
    ]
    folders = [Path(option(command, '--work-dir')) for command in tools.commands]
    called = [
        (name, config, (folder.parent if name == 'test.py' else folder).name)
        for (name, config, *_), folder in zip(tools.commands, folders, strict=True)
    ]
    assert called == expected
    train, test = tools.commands[2:4]
    assert option(train, '--seed') == '2' and '--resume' in train
    assert test[2] == str(work_dir / 'one' / 'seed2' / 'iter_2.pth')
    assert all(option(command, '--cfg-options') == 'model.a=3' for command in tools.commands)


def test_table_has_mean_and_spread_of_every_subset(tools, configs, tmp_path, capsys):
    out = tmp_path / 'tables' / 'a.md'
    arguments = ['--work-dir', str(tmp_path / 'work'), '--seeds', '0', '1', '--out', str(out)]
    assert tool.main([configs[0], *arguments]) == 0
    text = out.read_text()
    assert text in capsys.readouterr().out
    assert text.startswith("protocol 'diffdis' (quantise=True, min_max=True, binarise=0.5); ")
    assert 'test-time augmentation: none; noise seed 0; 3 images; last checkpoint;' in text
    # the sample standard deviation of 0.5 and 0.6 is 0.1 / sqrt(2)
    assert '| one | all | 0 1 | 0.5500 ± 0.0707 | 0.2500 ± 0.0000 |' in text
    assert '| one | DIS-VD | 0 1 | 0.1250 ± 0.0000 | 0.5000 ± 0.0000 |' in text
    with out.with_suffix('.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['subset'] for row in rows] == ['all', 'DIS-VD']
    assert float(rows[0]['maxF']) == pytest.approx(0.55)
    assert float(rows[0]['maxF_std']) == pytest.approx(0.0707107)
    assert rows[0]['protocol'] in text


def test_single_seed_has_no_deviation(tools, configs, tmp_path):
    tool.main([configs[0], '--work-dir', str(tmp_path / 'work')])
    assert '| one | all | 0 | 0.5000 | 0.2500 |' in (tmp_path / 'work' / 'table.md').read_text()


def test_failed_run_is_reported_and_repeated_later(tools, configs, tmp_path, capsys):
    arguments = [*configs, '--work-dir', str(tmp_path / 'work'), '--seeds', '0', '1']
    tools.failing = 'one/seed1/test'
    assert tool.main(arguments) == 1
    assert 'failed: one, seed 1: error: the last line' in capsys.readouterr().err
    table = (tmp_path / 'work' / 'table.md').read_text()
    assert '| one | all | 0 | 0.5000 |' in table and '| two | all | 0 1 | 0.5500 ±' in table
    assert 'Without scores:\n\n- one, seed 1: error: the last line' in table

    tools.failing, tools.commands = None, []
    assert tool.main(arguments) == 0
    assert [command[:2] for command in tools.commands] == [
        ['train.py', configs[0]],  # which resumes, and has nothing left to do
        ['test.py', configs[0]],
    ]
    table = (tmp_path / 'work' / 'table.md').read_text()
    assert '| one | all | 0 1 | 0.5500 ±' in table and 'Without scores' not in table
    tools.commands = []
    assert tool.main(arguments) == 0 and not tools.commands


def test_training_without_a_checkpoint_is_a_failure(tools, configs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('mmengine.runner.find_latest_checkpoint', lambda folder: None)
    assert tool.main([configs[0], '--work-dir', str(tmp_path / 'work')]) == 1
    assert 'one, seed 0: no checkpoint in ' in capsys.readouterr().err


def test_scores_of_different_protocols_stand_in_different_tables(tools, configs, tmp_path):
    arguments = [*configs, '--work-dir', str(tmp_path / 'work')]
    tools.failing = 'one.py'
    tool.main(arguments)
    tools.failing, tools.protocol = None, dict(PROTOCOL, protocol='soft', binarise=None)
    tool.main(arguments)  # now 'one' is scored, under another protocol than 'two'
    first, second = (tmp_path / 'work' / 'table.md').read_text().split("protocol '")[1:]
    assert first.startswith('soft') and '| one |' in first and '| two |' not in first
    assert second.startswith('diffdis') and '| two |' in second and '| one |' not in second


def test_augmented_scores_are_kept_apart(tools, configs, tmp_path):
    arguments = [configs[0], '--work-dir', str(tmp_path / 'work')]
    tool.main(arguments)
    assert tool.main([*arguments, '--tta', '--out', str(tmp_path / 'tta.md')]) == 0
    text = (tmp_path / 'tta.md').read_text()
    assert 'augmentation: 6 passes at 768x768/1024x1024/1280x1280, not stretched, aver' in text
    assert 'augmentation: none' in (tmp_path / 'work' / 'table.md').read_text()
    names = {path.name for path in (tmp_path / 'work' / 'one' / 'seed0').glob('*.json')}
    assert names == {'scores.json', 'scores_tta.json'}


def test_stretched_and_unstretched_passes_stand_in_different_tables(tools, configs, tmp_path):
    tools.stretched = configs[:1]
    assert tool.main([*configs, '--work-dir', str(tmp_path / 'work'), '--tta']) == 0
    first, second = (tmp_path / 'work' / 'table.md').read_text().split("protocol '")[1:]
    assert 'each stretched' in first and '| one |' in first and '| two |' not in first
    assert 'not stretched' in second and '| two |' in second and '| one |' not in second


def test_mistakes_end_in_one_line_before_anything_runs(tools, configs, tmp_path):
    work_dir = ['--work-dir', str(tmp_path / 'work')]
    tool.main([configs[0], *work_dir])
    tools.commands = []
    with pytest.raises(
        SystemExit,
        match='one holds results of other settings: cfg_options changed .*choose another folder',
    ):
        tool.main([configs[0], *work_dir, '--cfg-options', 'model.a=2'])
    Path(configs[0]).write_text('model = dict(a=2)\n')
    with pytest.raises(SystemExit, match='one holds results of other settings: config c'):
        tool.main([configs[0], *work_dir])
    with pytest.raises(SystemExit, match='configs of the same name'):
        tool.main([configs[1], configs[1], *work_dir])
    with pytest.raises(SystemExit, match=r'nowhere\.py does not exist'):
        tool.main([configs[1], 'nowhere.py', *work_dir])
    assert not tools.commands


@pytest.mark.slow
def test_small_segmentor_is_trained_and_scored(stock_config, tmp_path, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    config = stock_config(1)
    assert tool.main([str(config), '--work-dir', str(tmp_path / 'work')]) == 0
    folder = tmp_path / 'work' / 'fcn_1' / 'seed0'
    written = json.loads((folder / 'scores.json').read_text())
    assert Path(written['checkpoint']).name == 'iter_2.pth'
    table = (tmp_path / 'work' / 'table.md').read_text()
    assert f'| fcn_1 | all | 0 | {written["metrics"]["maxF"]:.4f} |' in table


def test_images_show_ground_truth_and_the_mask_of_each_config(
    tmp_path, stock_config, stock_checkpoint
):
    folders = {}
    for channels in (1, 2):
        config = stock_config(channels)
        folder = folders[config.stem] = tmp_path / f'run{channels}'
        folder.mkdir()
        Config.fromfile(config).dump(folder / config.name)
        (folder / 'last_checkpoint').write_text(str(stock_checkpoint(config)))
    image = tool.draw_masks(folders, count=2)
    # images of 56x40 pixels as four tiles 192 wide, three gaps of 6, captions 26 high
    assert image.shape == (2 * (137 + 26), 4 * 192 + 3 * 6, 3)
    assert image.dtype == 'uint8'


def test_model_without_noise_shares_the_table_of_one_with_noise():
    def describe(seed: int | None) -> str:
        result = dict(protocol=[PROTOCOL], tta=False, images=3, seed=seed)
        return tool.describe_protocol(result, noise_seed=0)

    assert describe(None) == describe(0) != describe(1)


def test_targets_are_tried_before_anything_is_trained(tools, configs, tmp_path, capsys):
    arguments = [*configs, '--work-dir', str(tmp_path / 'work')]
    with pytest.raises(SystemExit, match='choose another --out'):
        tool.main([*arguments, '--out', str(Path(configs[0]) / 'table.md')])
    with pytest.raises(SystemExit, match='2'):
        tool.main([*arguments, '--pictures', '301'])
    assert '--pictures 301: expected 0 to 300, which fit' in capsys.readouterr().err
    assert not tools.commands
