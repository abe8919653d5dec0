"""Pictures of masks."""

from .hook import DISPanelHook
from .panel import cutout, overlay, panel

__all__ = ['DISPanelHook', 'cutout', 'overlay', 'panel']
