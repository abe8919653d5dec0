"""Prediction of the images that wait, together."""

import asyncio
from collections import deque
from dataclasses import dataclass

from ..apis.inference import DISInferencer
from ..apis.results import DISResult, PreparedImage


@dataclass(frozen=True, eq=False)
class _Waiting:
    inferencer: DISInferencer
    image: PreparedImage
    future: 'asyncio.Future[DISResult]'

    def fits(self, other: '_Waiting') -> bool:
        """Returns whether both can be predicted in one batch."""
        shapes = {waiting.image.packed['inputs'].shape for waiting in (self, other)}
        return self.inferencer is other.inferencer and len(shapes) == 1


class Batcher:
    """Predicts one batch after the other, in a thread; each has the images that wait by then.

    A batch has the image that has waited longest, and further ones of the same model and size.

    Args:
        batch_size: Largest number of images in a batch.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task | None = None  # there while images wait

    async def predict(self, inferencer: DISInferencer, image: PreparedImage) -> DISResult:
        """Returns the prediction of an image, or raises what `DISInferencer.predict` raises.

        If it is cancelled before its batch has begun, the image is not predicted.
        """
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(inferencer, image, future))
        if self._task is None:
            self._task = asyncio.create_task(self._predict_all())
        return await future

    async def _predict_all(self) -> None:
        while batch := self._next_batch():
            results = await asyncio.to_thread(_predict, batch)
            for waiting, result in zip(batch, results, strict=True):
                if waiting.future.cancelled():
                    continue
                if isinstance(result, Exception):
                    waiting.future.set_exception(result)
                else:
                    waiting.future.set_result(result)
        self._task = None

    def _next_batch(self) -> list[_Waiting]:
        """Removes a batch from those that wait, and returns it; empty if none waits."""
        batch: list[_Waiting] = []
        others: deque[_Waiting] = deque()
        for waiting in self._waiting:
            if waiting.future.cancelled():
                continue
            fits = len(batch) < self._batch_size and (not batch or waiting.fits(batch[0]))
            (batch if fits else others).append(waiting)
        self._waiting = others
        return batch


def _predict(batch: list[_Waiting]) -> list[DISResult | Exception]:
    """Predicts a batch; if that fails, its images one by one."""
    try:
        return batch[0].inferencer.predict([waiting.image for waiting in batch])
    except Exception as error:  # is raised where the image was handed over
        if len(batch) == 1:
            return [error]
    return [result for waiting in batch for result in _predict([waiting])]
