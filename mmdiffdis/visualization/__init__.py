"""Pictures of masks."""

from .hook import DISPanelHook
from .panel import contact_sheet, cutout, overlay, panel

__all__ = ['DISPanelHook', 'contact_sheet', 'cutout', 'overlay', 'panel']
