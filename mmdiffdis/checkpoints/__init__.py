"""Checkpoints: reading them without running what is in them, and writing weights as safetensors."""

from .loading import (
    CheckpointError,
    is_whole,
    load_from_local,
    load_from_mmdiffdis,
    load_from_url,
    misfits_named,
    save_weights,
)
from .lora import merge_lora
from .stable_diffusion import StableDiffusionInit
from .taesd import TAESDInit

__all__ = [
    'CheckpointError',
    'StableDiffusionInit',
    'TAESDInit',
    'is_whole',
    'load_from_local',
    'load_from_mmdiffdis',
    'load_from_url',
    'merge_lora',
    'misfits_named',
    'save_weights',
]
