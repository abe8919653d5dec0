# Divides gradients and optimizer states among the GPUs, with the states in CPU memory. DeepSpeed
# clips gradients itself, to the max_norm of optim_wrapper.clip_grad.
runner_type = 'FlexibleRunner'
strategy = dict(
    type='SyncBNDeepSpeedStrategy',
    zero_optimization=dict(
        stage=2, overlap_comm=True, contiguous_gradients=True, offload_optimizer=dict(device='cpu')
    ),
)
optim_wrapper = dict(type='DeepSpeedOptimWrapper')
