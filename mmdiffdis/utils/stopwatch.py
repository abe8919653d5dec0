"""Timing of the parts of a computation."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Measures named parts of a computation; waits for the device at every reading.

    Args:
        device: Device whose queued work counts.
        clock: Clock in seconds, e.g. `time.process_time` where other processes share the CPU.

    Attributes:
        seconds: Name of a part -> its measurements.
    """

    def __init__(
        self, device: torch.device | str, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._device_type = torch.device(device).type
        self._clock = clock
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def now(self) -> float:
        """Returns the clock's time after the device's queued work."""
        if self._device_type in ('cuda', 'mps'):
            getattr(torch, self._device_type).synchronize()
        return self._clock()

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Measures the block as `part`."""
        start = self.now()
        yield
        self.seconds[part].append(self.now() - start)
