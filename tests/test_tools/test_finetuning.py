"""The fine-tuning config overfits a single image, starting from the shipped weights."""

import json

import cv2
import pytest
import torch
from conftest import ROOT
from helpers import train

from mmdiffdis.synthetic import draw_sample

CONFIG = ROOT / 'configs/diffdis/diffdis_tiny_finetune_1xb8-400_own-384x384.py'


@pytest.mark.slow
def test_single_image_is_overfitted(tmp_path, monkeypatch):
    """Losses fall, the mask approaches the ground truth, and the best checkpoint is kept."""
    for folder in ('im', 'gt'):
        (tmp_path / 'photos' / folder).mkdir(parents=True)
    sample = draw_sample(0, 'DIS-TR', 3, 128, 128)
    cv2.imwrite(str(tmp_path / 'photos/im/one.png'), sample.image)
    cv2.imwrite(str(tmp_path / 'photos/gt/one.png'), sample.mask)
    config = tmp_path / 'overfit.py'
    config.write_text(
        f'_base_ = {str(CONFIG)!r}\n'
        'load = [dict(type="LoadDISImage"), dict(type="LoadDISAnnotations"), '
        'dict(type="GenerateDISEdge")]\n'
        'resize = [dict(type="DISResize", scale=(128, 128)), dict(type="PackDISInputs")]\n'
        'common = dict(part=None, pipeline=[*load, *resize])\n'
        'train_dataloader = dict(batch_size=1, num_workers=0, persistent_workers=False, '
        'dataset=common)\n'
        'val_dataloader = dict(batch_size=1, num_workers=0, persistent_workers=False, '
        'dataset=common)\n'
        'train_cfg = dict(max_iters=60, val_interval=20)\n'
        'param_scheduler = []\n'
        'optim_wrapper = dict(optimizer=dict(lr=1e-3))\n'
        'model = dict(data_preprocessor=dict(cutmix=None))\n'
        'default_hooks = dict(checkpoint=dict(interval=60))\n'
    )
    monkeypatch.setenv('DATA', str(tmp_path / 'photos'))
    monkeypatch.chdir(tmp_path)
    train(monkeypatch, config, '--work-dir', 'run')
    (scalars,) = (tmp_path / 'run').glob('*/vis_data/scalars.json')
    records = [json.loads(line) for line in scalars.read_text().splitlines()]
    training = [record['loss'] for record in records if 'loss_mask' in record and 'lr' in record]
    validations = [record for record in records if 'val_loss' in record]
    assert training[-1] < 0.5 * training[0]
    assert validations[-1]['val_loss'] < 0.7 * validations[0]['val_loss']
    assert validations[-1]['maxF'] > 0.95
    (best,) = (tmp_path / 'run').glob('best_maxF_iter_*.pth')
    assert torch.load(best, weights_only=False)['state_dict']
