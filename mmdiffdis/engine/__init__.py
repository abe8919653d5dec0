"""Hooks, optimizer wrapper, learning rate schedule and strategies for MMEngine's training loop."""

from .broadcast_buffers_hook import BroadcastBuffersHook
from .channels_last_hook import ChannelsLastHook
from .compounding_decay_lr import CompoundingDecayLR
from .early_stopping_hook import DISEarlyStoppingHook
from .finite_loss_hook import FiniteLossHook
from .latents_hook import LatentsHook
from .mixed_precision import BFloat16OptimWrapper
from .panel_hook import DISPanelHook
from .progress_bar_hook import ProgressBarHook
from .random_streams_hook import RandomStreamsHook
from .run_record_hook import RunRecordHook
from .sharding import SyncBNDeepSpeedStrategy, SyncBNFSDPStrategy, wrap_blocks
from .whole_checkpoint_hook import WholeCheckpointHook

__all__ = [
    'BFloat16OptimWrapper',
    'BroadcastBuffersHook',
    'ChannelsLastHook',
    'CompoundingDecayLR',
    'DISEarlyStoppingHook',
    'DISPanelHook',
    'FiniteLossHook',
    'LatentsHook',
    'ProgressBarHook',
    'RandomStreamsHook',
    'RunRecordHook',
    'SyncBNDeepSpeedStrategy',
    'SyncBNFSDPStrategy',
    'WholeCheckpointHook',
    'wrap_blocks',
]
