# Third stage: more training of the decoder, at half of the second stage's learning rate.
_base_ = './vae_tiny-decoder_1xb4-800_synthetic-dis-128x128.py'

load_from = 'work_dirs/vae_tiny-decoder_1xb4-800_synthetic-dis-128x128/iter_800.pth'
train_cfg = dict(max_iters=600, val_interval=300)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=50, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=0.0, begin=50, end=600, by_epoch=False),
]
