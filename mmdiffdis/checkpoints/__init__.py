"""Checkpoints: reading them without running what is in them, and writing weights as safetensors."""

from .loading import CheckpointError, load_from_local, load_from_mmdiffdis, save_weights

__all__ = ['CheckpointError', 'load_from_local', 'load_from_mmdiffdis', 'save_weights']
