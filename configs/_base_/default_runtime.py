custom_imports = dict(imports=['mmdiffdis'])
default_scope = 'mmseg'

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
randomness = dict(seed=0, diff_rank_seed=True)
# BatchNorm uses the statistics of the global batch on any number of GPUs.
sync_bn = 'torch'
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
log_processor = dict(by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False

visualizer = dict(
    type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer'
)
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='WholeCheckpointHook', interval=1, max_keep_ckpts=2, save_best='maxF', rule='greater'
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    buffers=dict(type='BroadcastBuffersHook'),
    random_streams=dict(type='RandomStreamsHook'),
    finite_loss=dict(type='FiniteLossHook'),
    latents=dict(type='LatentsHook'),
    run_record=dict(type='RunRecordHook'),
)
custom_hooks = [dict(type='DISPanelHook')]
