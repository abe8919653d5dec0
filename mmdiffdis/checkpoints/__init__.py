"""Checkpoints: reading without executing, names of published weights, writing of safetensors."""

from .loading import (
    CheckpointError,
    explain_misfits,
    is_whole,
    load_from_local,
    load_from_mmdiffdis,
    load_from_url,
    load_strictly,
    save_weights,
)
from .lora import merge_lora
from .stable_diffusion import StableDiffusionInit
from .taesd import TAESDInit

__all__ = [
    'CheckpointError',
    'StableDiffusionInit',
    'explain_misfits',
    'TAESDInit',
    'is_whole',
    'load_from_local',
    'load_from_mmdiffdis',
    'load_from_url',
    'load_strictly',
    'merge_lora',
    'save_weights',
]
