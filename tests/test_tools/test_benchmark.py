"""tools/analysis_tools/benchmark.py: what it measures of which model, and what it writes."""

import csv
import time

import numpy as np
import pytest
import torch
from conftest import ROOT, load_tool, tiny_config
from mmengine.config import Config
from mmseg.registry import MODELS
from PIL import Image

tool = load_tool('analysis_tools/benchmark.py')


@pytest.fixture
def diffusion(tmp_path) -> str:
    """CONFIG:CKPT of a tiny diffusion model with a test-time augmentation of two passes."""
    scale = [dict(type='DISResize', scale=(64, 64))]
    flips = [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)]
    pack = [dict(type='PackDISInputs')]
    truth = [dict(type='LoadDISAnnotations')]
    cfg = Config(
        dict(
            model=tiny_config(test_cfg=dict(edge=False)),
            test_pipeline=[dict(type='LoadDISImage'), *scale, *truth, *pack],
            tta_pipeline=[
                dict(type='LoadDISImage'),
                dict(type='TestTimeAug', transforms=[scale, flips, truth, pack]),
            ],
            tta_model=dict(type='DISTTAModel', min_max=True),
        )
    )
    cfg.dump(tmp_path / 'diffusion.py')
    torch.manual_seed(0)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / 'diffusion.pth')
    return f'{tmp_path}/diffusion.py:{tmp_path}/diffusion.pth'


@pytest.fixture
def photos(tmp_path, write_set):
    """A folder of two pictures, beside one of their masks."""
    return write_set(tmp_path, 'photos', stems=('a', 'b')) / 'photos'


def run(*arguments, out) -> list[dict]:
    tool.main([*map(str, arguments), '--device', 'cpu', '--out', str(out)])
    with open(out / 'benchmark.csv', newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def test_models_and_variants_side_by_side(
    diffusion, stock_config, stock_checkpoint, photos, tmp_path, capsys
):
    config = stock_config(2)
    models = [diffusion, f'{config}:{stock_checkpoint(config)}']
    options = ['--images', photos / 'im', '--gt', photos / 'gt', '--repeats', 2]
    variants = ['--variants', 'mask', 'edge', 'reference']
    rows = run(*models, *options, *variants, out=tmp_path / 'out')
    named = [(row['model'], row['variant']) for row in rows]
    assert named == [
        ('diffusion', 'mask'),
        ('diffusion', 'edge'),
        ('diffusion', 'reference'),
        ('fcn_2', 'mask'),
    ]
    mask, edge, reference, stock = rows
    # the reference makes both maps in each of its two passes
    assert float(mask['TFLOP']) < float(edge['TFLOP'])
    assert float(reference['TFLOP']) == pytest.approx(2 * float(edge['TFLOP']), rel=1e-3)
    assert float(mask['parameters M']) == float(reference['parameters M'])
    for row in (mask, edge, reference):
        assert all(float(row[f'{stage} ms']) > 0 for stage in tool.STAGES)
    assert float(stock['encode ms']) == float(stock['decode ms']) == 0
    assert float(stock['network ms']) > 0
    for row in rows:
        assert 0 <= float(row['MAE']) <= 1
        low, high = map(float, row['quartiles'].split('-'))
        assert low <= float(row['total ms']) <= high
    assert mask['MAE'] == edge['MAE'] != reference['MAE']
    assert float(mask['differs']) == float(stock['differs']) == 0
    assert float(edge['differs']) < 0.2 < float(reference['differs'])

    printed = capsys.readouterr().out
    assert printed.strip().endswith((tmp_path / 'out' / 'benchmark.md').read_text().strip())
    assert f'torch {torch.__version__}' in printed and '2 pictures, 2 repeats' in printed
    assert 'protocol "soft"' in printed
    assert Image.open(tmp_path / 'out' / 'benchmark.png').width > 500
    written = sorted((tmp_path / 'out' / 'masks').iterdir())
    assert [path.name for path in written] == ['0_mask', '1_edge', '2_reference', '3_mask']
    first, second = (np.array(Image.open(path / 'a.png')).astype(int) for path in written[:2])
    assert first.shape == (40, 56) and np.abs(first - second).max() <= 1


def test_reference_is_the_test_with_its_augmentation(diffusion, photos):
    """The passes averaged by hand: each stretched, the flipped one turned back."""
    device = torch.device('cpu')
    picture = photos / 'im' / 'a.jpg'
    reference = tool.load(diffusion, 'reference', device).inferencer
    plain = tool.load(diffusion, 'edge', device).inferencer
    passes = [plain(picture).mask]
    flipped = Image.open(picture).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    passes.append(plain(flipped, stem='a').mask[:, ::-1])
    stretched = [(one - one.min()) / (one.max() - one.min()) for one in passes]
    np.testing.assert_allclose(reference(picture).mask, np.mean(stretched, axis=0), atol=2e-5)


def test_pictures_of_scikit_image_are_taken_if_there_are_no_others(diffusion, tmp_path, capsys):
    (row,) = run(diffusion, '--repeats', 1, out=tmp_path / 'out')
    assert 'MAE' not in row and 'Scores' not in capsys.readouterr().out
    assert len(list((tmp_path / 'out' / 'images').iterdir())) == 3


def test_difference_that_nearly_all_pixels_keep_within(diffusion):
    contestant = tool.load(diffusion, 'mask', torch.device('cpu'))
    first = np.zeros((40, 100))
    off = first.copy()
    off[0, :4] = 1  # one pixel in a thousand may be anything
    off[1] = 0.55 / 255
    contestant.compare(off, first)
    assert contestant.levels_apart() == 0.6
    off[0, 4] = 0.2
    contestant.compare(off, first)
    assert contestant.levels_apart() == 51


def test_stock_segmentors_have_no_variants_of_a_vae(stock_config, stock_checkpoint):
    config = stock_config(2)
    device = torch.device('cpu')
    assert tool.load(f'{config}:{stock_checkpoint(config)}', 'float16_encoder', device) is None
    assert tool.load(f'{config}:{stock_checkpoint(config)}', 'fast', device) is not None


def test_stopwatch_adds_up_what_a_stage_takes():
    watch = tool.Stopwatch(torch.device('cpu'))
    wait = watch.timed(time.sleep, 'wait')
    for _ in range(2):
        wait(0.02)
    assert watch.seconds['wait'] == pytest.approx(0.04, rel=0.9) and watch.seconds['wait'] >= 0.04


def test_mistakes_end_in_one_line(diffusion, stock_config, photos, tmp_path):
    out = tmp_path / 'out'
    with pytest.raises(SystemExit, match='--repeats 0: expected at least 1'):
        run(diffusion, '--repeats', 0, out=out)
    with pytest.raises(SystemExit, match='--gt takes --images'):
        run(diffusion, '--gt', photos / 'gt', out=out)
    (photos / 'im' / 'notes.txt').write_text('text')
    with pytest.raises(SystemExit, match=r"cannot read '.*notes\.txt' as an image"):
        run(diffusion, '--images', photos / 'im', out=out)
    (photos / 'im' / 'notes.txt').unlink()
    (photos / 'gt' / 'b.png').unlink()
    with pytest.raises(SystemExit, match=r"gt' has no mask of the stem 'b'"):
        run(diffusion, '--images', photos / 'im', '--gt', photos / 'gt', out=out)
    with pytest.raises(SystemExit, match=r"no model has any of the variants \['edge'\]"):
        run(stock_config(2), '--variants', 'edge', out=out)
    with pytest.raises(SystemExit, match='config nowhere does not exist'):
        run('nowhere', out=out)


def test_cold_models_need_no_file_to_start_from(tmp_path):
    config = tmp_path / 'config.py'
    base = 'configs/deeplabv3plus/deeplabv3plus_small_1xb16-1k2_synthetic-dis-128x128.py'
    text = (
        f'_base_ = {str(ROOT / base)!r}\n'
        "missing = dict(type='Pretrained', checkpoint='missing.pth')\n"
        'model = dict(backbone=dict(init_cfg=missing))'
    )
    config.write_text(text)
    device = torch.device('cpu')
    with pytest.raises(FileNotFoundError, match='missing.pth'):
        tool.load(str(config), 'mask', device)
    models = [tool.load(str(config), 'mask', device, cold=True).inferencer.model for _ in range(2)]
    first, second = (model.state_dict() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first), 'variants differ else'
