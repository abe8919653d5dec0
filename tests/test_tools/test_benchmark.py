"""Measurements and reports of tools/analysis_tools/benchmark.py."""

import csv
import os

import numpy as np
import pytest
import torch
from conftest import ROOT, load_tool, tiny_config
from mmengine.config import Config
from mmseg.registry import MODELS
from PIL import Image

from mmdiffdis.apis import DISInferencer, benchmarking

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
    """A folder with two images and one with their masks."""
    return write_set(tmp_path, 'photos', stems=('a', 'b')) / 'photos'


@pytest.fixture
def _one_process(monkeypatch):
    """Replaces the measurement of memory, whose processes take seconds to start, by 1 GiB."""
    monkeypatch.setattr(benchmarking, 'measure_memory_alone', lambda *arguments: 2**30)


def run(*arguments, out) -> list[dict]:
    tool.main([*map(str, arguments), '--device', 'cpu', '--out', str(out)])
    with open(out / 'benchmark.csv', newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.usefixtures('_one_process')
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
        (
            'diffusion',
            'reference (2 passes at 64x64; each stretched; averaged at the original size)',
        ),
        ('fcn_2', 'mask'),
    ]
    mask, edge, reference, stock = rows
    # the reference makes both maps in each of its two passes
    assert float(mask['TFLOP']) < float(edge['TFLOP'])
    assert float(reference['TFLOP']) == pytest.approx(2 * float(edge['TFLOP']), rel=1e-3)
    assert float(mask['parameters M']) == float(reference['parameters M'])
    for row in (mask, edge, reference):
        assert all(float(row[f'{stage} ms']) > 0 for stage in benchmarking.STAGES)
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
    assert f'torch {torch.__version__}' in printed and '2 images, 2 repeats' in printed
    assert 'protocol "soft"' in printed
    assert Image.open(tmp_path / 'out' / 'benchmark.png').width > 500
    written = sorted((tmp_path / 'out' / 'masks').iterdir())
    assert [path.name for path in written] == ['0_mask', '1_edge', '2_reference', '3_mask']
    first, second = (np.array(Image.open(path / 'a.png')).astype(int) for path in written[:2])
    assert first.shape == (40, 56) and np.abs(first - second).max() <= 1


@pytest.mark.slow
@pytest.mark.usefixtures('_one_process')
def test_taesd_takes_the_place_of_the_vae(diffusion, stock_config, photos, tmp_path):
    models = [diffusion, stock_config(2)]
    options = ['--images', photos / 'im', '--repeats', 1, '--cold']
    variants = ['mask', 'taesd_decoder', 'taesd']
    rows = run(*models, *options, '--variants', *variants, out=tmp_path / 'out')
    assert [row['variant'] for row in rows] == [*variants, 'mask']  # the stock model has no VAE
    mask, decoder, both = (float(row['parameters M']) for row in rows[:3])
    assert decoder > 1.22 and both > 2 * 1.22  # the small VAE of this test is smaller than TAESD
    assert decoder - mask < both - mask
    assert all(float(row['differs']) > 0 for row in rows[1:3])


@pytest.mark.slow
@pytest.mark.usefixtures('_one_process')
def test_onnxruntime_beside_pytorch(stock_config, stock_checkpoint, photos, tmp_path):
    config = stock_config(2)
    model = f'{config}:{stock_checkpoint(config)}'
    options = ['--images', photos / 'im', '--variants', 'mask', 'onnx']
    torch_row, onnx_row = run(model, *options, out=tmp_path / 'out')
    assert torch_row['parameters M'] == onnx_row['parameters M']
    assert float(onnx_row['network ms']) > 0 and float(onnx_row['differs']) <= 0.1


@pytest.mark.slow
def test_reference_is_the_test_with_its_augmentation(diffusion, photos):
    """The passes averaged by hand: each stretched, the flipped one turned back."""
    device = torch.device('cpu')
    image = photos / 'im' / 'a.jpg'
    reference = benchmarking.load_candidate(diffusion, 'reference', device, image).inferencer
    plain = DISInferencer(*diffusion.split(':'), device=device)
    flipped = Image.open(image).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    passes = [plain(image).mask, plain(flipped, stem='a').mask[:, ::-1]]
    stretched = [(mask - mask.min()) / (mask.max() - mask.min()) for mask in passes]
    np.testing.assert_allclose(reference(image).mask, np.mean(stretched, axis=0), atol=2e-5)


@pytest.mark.slow
@pytest.mark.usefixtures('_one_process')
def test_images_of_scikit_image_are_the_default(diffusion, tmp_path, capsys):
    (row,) = run(diffusion, '--repeats', 1, out=tmp_path / 'out')
    assert 'MAE' not in row and 'Scores' not in capsys.readouterr().out
    assert row['peak GiB'] == '1.00'
    assert len(list((tmp_path / 'out' / 'images').iterdir())) == 3


@pytest.mark.slow  # starts processes
def test_memory_is_that_of_a_model_alone(diffusion, photos):
    """Whatever else is in use or has just been freed here."""
    arguments = diffusion, 'mask', torch.device('cpu'), photos / 'im' / 'a.jpg'
    first = benchmarking.measure_memory_alone(*arguments)
    freed = [torch.ones(1 << 18) for _ in range(200)]  # 200 MiB in small parts
    del freed
    again = benchmarking.measure_memory_alone(*arguments)
    assert again == pytest.approx(first, rel=0.1)
    weights = torch.load(diffusion.split(':')[1])['state_dict'].values()
    assert first > sum(weight.nbytes for weight in weights)
    assert 'MALLOC_MMAP_THRESHOLD_' not in os.environ


@pytest.mark.usefixtures('_one_process')
def test_image_that_a_model_fails_on_is_left_out_and_reported(
    stock_config, photos, tmp_path, capsys, monkeypatch
):
    predict = benchmarking.Candidate.predict

    def fail_for_b(candidate, image, out):
        if image.stem == 'b':
            raise ValueError('NaN or infinity')
        return predict(candidate, image, out)

    monkeypatch.setattr(benchmarking.Candidate, 'predict', fail_for_b)
    out = tmp_path / 'out'
    arguments = [str(stock_config(2)), '--images', str(photos / 'im'), '--cold', '--device', 'cpu']
    arguments += ['--gt', str(photos / 'gt'), '--out', str(out)]
    monkeypatch.setattr(benchmarking, 'plot', lambda *arguments: None)
    assert tool.main(arguments) == 1
    assert "b.jpg': fcn_2, mask: NaN or infinity" in capsys.readouterr().err
    report = (out / 'benchmark.md').read_text()
    assert '1 images, 3 repeats' in report and 'MAE' in report
    (photos / 'im' / 'a.jpg').unlink()
    with pytest.raises(SystemExit, match=r'error: NaN or infinity'):
        tool.main(arguments)


@pytest.mark.usefixtures('_one_process')
def test_interrupted_run_keeps_what_it_has_measured(stock_config, photos, tmp_path, monkeypatch):
    predict, calls = benchmarking.Candidate.predict, []

    def interrupt_fourth(candidate, image, out):
        calls.append(image)
        if len(calls) == 4:  # the first is the warm-up
            raise KeyboardInterrupt
        return predict(candidate, image, out)

    monkeypatch.setattr(benchmarking.Candidate, 'predict', interrupt_fourth)
    out = tmp_path / 'out'
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(stock_config(2), '--cold', '--images', photos / 'im', out=out)
    assert 'UNFINISHED: 2 of 6 predictions of each model.' in (out / 'benchmark.md').read_text()
    (row,) = csv.DictReader((out / 'benchmark.csv').read_text().splitlines())
    assert float(row['total ms']) > 0 and float(row['peak GiB']) == 1


def test_difference_that_nearly_all_pixels_keep_within():
    candidate = benchmarking.Candidate('name', 'model', inferencer=None, watch=None)
    first = np.zeros((40, 100))
    off = first.copy()
    off[0, :4] = 1  # one pixel in a thousand may be anything
    off[1] = 0.55 / 255
    candidate.compare(off, first)
    assert candidate.levels_apart() == 0.6
    off[0, 4] = 0.2
    candidate.compare(off, first)
    assert candidate.levels_apart() == 51


@pytest.mark.slow
def test_stock_segmentors_lack_the_variants_of_a_vae(stock_config, stock_checkpoint, photos):
    model, image = f'{stock_config(2)}:{stock_checkpoint(stock_config(2))}', photos / 'im' / 'a.jpg'
    device = torch.device('cpu')
    for variant in ('edge', 'reference', 'float16_encoder'):
        assert benchmarking.load_candidate(model, variant, device, image) is None
    assert benchmarking.load_candidate(model, 'fast', device, image) is not None


@pytest.mark.slow
def test_stages_are_measured_in_compiled_models_as_well(diffusion, photos, tmp_path, monkeypatch):
    """Eagerly: the blocks are traced and called like compiled ones."""
    compile_block = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, 'compile', lambda self, mode: compile_block(self, backend='eager')
    )
    image = photos / 'im' / 'a.jpg'
    compiled, plain = (
        benchmarking.load_candidate(diffusion, variant, torch.device('cpu'), image)
        for variant in ('compile', 'mask')
    )
    compiled.predict(image, tmp_path)
    result, seconds = compiled.predict(image, tmp_path)
    assert set(seconds) == set(benchmarking.STAGES) and min(seconds.values()) > 0
    np.testing.assert_allclose(result.mask, plain.predict(image, tmp_path)[0].mask, atol=1e-5)


def test_variants_are_those_of_the_package():
    assert tuple(benchmarking.VARIANTS) == tool.VARIANTS


def test_mistakes_end_in_one_line(diffusion, stock_config, photos, tmp_path):
    out = tmp_path / 'out'
    with pytest.raises(SystemExit, match='--repeats 0: expected at least 1'):
        run(diffusion, '--repeats', 0, out=out)
    with pytest.raises(SystemExit, match='--gt needs --images'):
        run(diffusion, '--gt', photos / 'gt', out=out)
    (photos / 'im' / 'notes.txt').write_text('text')
    with pytest.raises(SystemExit, match=r"cannot read '.*notes\.txt' as an image"):
        run(diffusion, '--images', photos / 'im', out=out)
    (photos / 'im' / 'notes.txt').unlink()
    with pytest.raises(SystemExit, match='is a folder of inputs: choose another'):
        run(diffusion, '--images', photos / 'im', out=photos / 'im')
    with pytest.raises(SystemExit, match='choose another --out'):
        run(diffusion, '--images', photos / 'im', out=photos / 'im' / 'a.jpg' / 'out')
    (photos / 'im' / 'b.jpg').write_bytes((photos / 'im' / 'b.jpg').read_bytes()[:-300])
    with pytest.raises(SystemExit, match=r"cannot read '.*b\.jpg' as an image"):
        run(diffusion, '--images', photos / 'im', out=out)
    Image.new('RGB', (20, 30)).save(photos / 'im' / 'b.jpg')
    with pytest.raises(SystemExit, match=r'b.jpg. has 56x40 pixels, expected the 20x30'):
        run(diffusion, '--images', photos / 'im', '--gt', photos / 'gt', out=out)
    (photos / 'gt' / 'b.png').unlink()
    with pytest.raises(SystemExit, match=r"gt' has no mask of the stem 'b'"):
        run(diffusion, '--images', photos / 'im', '--gt', photos / 'gt', out=out)
    with pytest.raises(SystemExit, match=r"no model has any of the variants \['edge'\]"):
        run(stock_config(2), '--variants', 'edge', out=out)
    with pytest.raises(SystemExit, match='config nowhere does not exist'):
        run('nowhere', out=out)


def test_cold_models_need_no_file_to_start_from(tmp_path, photos):
    config = tmp_path / 'config.py'
    base = 'configs/deeplabv3plus/deeplabv3plus_small_1xb16-1k2_synthetic-dis-128x128.py'
    text = (
        f'_base_ = {str(ROOT / base)!r}\n'
        "missing = dict(type='Pretrained', checkpoint='missing.pth')\n"
        'model = dict(backbone=dict(init_cfg=missing))'
    )
    config.write_text(text)
    device, image = torch.device('cpu'), photos / 'im' / 'a.jpg'
    with pytest.raises(FileNotFoundError, match='missing.pth'):
        benchmarking.load_candidate(str(config), 'mask', device, image)
    first, second = (
        benchmarking.load_candidate(
            str(config), 'mask', device, image, cold=True
        ).inferencer.model.state_dict()
        for _ in range(2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first), 'variants would differ'
