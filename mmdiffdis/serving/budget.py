"""A bound of the memory that images take."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class PixelBudget:
    """Bounds the pixels of the images that are decoded at once; a larger image goes alone.

    Args:
        pixels: Upper bound.
    """

    def __init__(self, pixels: int) -> None:
        self._total = self._free = pixels
        self._turn = asyncio.Lock()  # so that small images do not overtake a large one forever
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def hold(self, pixels: int) -> AsyncIterator[None]:
        """Waits until an image of so many pixels fits, and keeps its place during the block."""
        pixels = min(pixels, self._total)
        async with self._turn, self._changed:
            await self._changed.wait_for(lambda: pixels <= self._free)
            self._free -= pixels
        try:
            yield
        finally:
            async with self._changed:
                self._free += pixels
                self._changed.notify_all()
