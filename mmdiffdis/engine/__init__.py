"""What hangs on MMEngine's training loop."""

from .bfloat16_optim_wrapper import BFloat16OptimWrapper
from .compounding_decay_lr import CompoundingDecayLR
from .progress_bar_hook import ProgressBarHook
from .sharding import wrap_blocks

__all__ = ['BFloat16OptimWrapper', 'CompoundingDecayLR', 'ProgressBarHook', 'wrap_blocks']
