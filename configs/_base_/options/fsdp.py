# Weights, gradients and optimizer states divided among the GPUs, block by block of the U-Net and VAE.
runner_type = 'FlexibleRunner'
strategy = dict(
    type='FSDPStrategy',
    model_wrapper=dict(
        type='MMFullyShardedDataParallel',
        auto_wrap_policy=dict(type='mmdiffdis.wrap_blocks'),
        use_orig_params=True,  # frozen and trained weights in one unit
    ),
    state_dict_cfg='full',
)
