# The second release's recipe: the whole U-Net, batches of 32, horizontal flips, 30000 iterations.
# It trains at 768x768, this config at the size of the other baselines.
_base_ = [
    '../_base_/models/genpercept_sd21.py',
    '../_base_/datasets/dis5k_1024x1024.py',
    '../_base_/iteration_runtime.py',
]

# A folder in diffusers' layout with unet/, vae/, text_encoder/ and tokenizer/: Stable Diffusion 2.1
# to train; the same with GenPercept's unet/ is the published model.
model = dict(
    init_cfg=dict(type='StableDiffusionInit', pretrained='./pretrained/stable-diffusion-2-1')
)

train_pipeline = [
    *_base_.load_pair,
    dict(**_base_.resize, backend='torch'),
    *_base_.flip_and_pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

max_iters = 30000
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=5000)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=3e-5))
# 100 iterations of warm-up, then an exponential decay to a hundredth at iteration 25000.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=100, by_epoch=False),
    dict(type='ExponentialLR', gamma=0.01 ** (1 / 24900), begin=100, end=25000, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=5000))
