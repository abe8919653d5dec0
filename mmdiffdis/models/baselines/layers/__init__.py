"""Layers that several baselines share."""
