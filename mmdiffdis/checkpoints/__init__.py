"""Checkpoints: reading them without running what is in them, and writing weights as safetensors."""

from .loading import CheckpointError, load_from_local, load_from_mmdiffdis, save_weights
from .lora import merge_lora
from .stable_diffusion import StableDiffusionInit

__all__ = [
    'CheckpointError',
    'StableDiffusionInit',
    'load_from_local',
    'load_from_mmdiffdis',
    'merge_lora',
    'save_weights',
]
