"""Layers shared by several baselines."""
