# Second stage: the decoder alone, on masks and edges alone, since DiffDIS decodes nothing else. The
# latents stay those of the first stage.
_base_ = './vae_tiny_1xb2-2k_synthetic-dis-128x128.py'

model = dict(image_weight=0.0)
load_from = 'work_dirs/vae_tiny_1xb2-2k_synthetic-dis-128x128/iter_2000.pth'
train_dataloader = dict(batch_size=4)
train_cfg = dict(max_iters=800, val_interval=400)
optim_wrapper = dict(
    optimizer=dict(lr=2e-3),
    paramwise_cfg=dict(
        custom_keys={
            'autoencoder.encoder': dict(lr_mult=0.0),
            'autoencoder.quant_conv': dict(lr_mult=0.0),
        }
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=50, by_epoch=False),
    # eta_min above 0 would raise the encoder's learning rate of 0.
    dict(type='CosineAnnealingLR', eta_min=0.0, begin=50, end=800, by_epoch=False),
]
