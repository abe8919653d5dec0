# Divides weights, gradients and optimizer states among the GPUs, by U-Net and VAE blocks.
runner_type = 'FlexibleRunner'
strategy = dict(
    type='SyncBNFSDPStrategy',
    model_wrapper=dict(
        type='MMFullyShardedDataParallel',
        auto_wrap_policy=dict(type='wrap_blocks'),
        use_orig_params=True,  # a unit has both frozen and trained weights
    ),
    state_dict_cfg='full',
)
