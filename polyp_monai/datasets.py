"""Reading frames beside the network: past damaged files in prediction, and never past an error unnoticed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from monai.data import DataLoader, IterableDataset, ThreadDataLoader
from monai.data.thread_buffer import buffer_iterator
from monai.transforms import apply_transform

from polyp_monai.errors import PolypError, root_cause

logger = logging.getLogger(__name__)


class PrefetchLoader(ThreadDataLoader):
    """MONAI's `ThreadDataLoader`, which loads ahead in a thread, but what fails there is raised here.

    MONAI's ends in that case as if everything had been read, and scores would be over some of the frames.
    """

    def __iter__(self) -> Iterator[Any]:
        for batch in buffer_iterator(self._batches(), self.buffer_size, self.buffer_timeout):
            if isinstance(batch, Exception):
                raise batch
            yield batch

    def _batches(self) -> Iterator[Any]:
        try:
            yield from DataLoader.__iter__(self)
        except Exception as error:
            yield error


class FrameDataset(IterableDataset):
    """Yields every sample that can be read, names the others, and goes on.

    Call `finish` after the run: it raises when a frame was left out, so that a batch job notices.
    """

    def __init__(self, data: Sequence[dict], transform: Callable) -> None:
        super().__init__(data=data, transform=transform)
        self.failures: list[str] = []

    def __iter__(self) -> Iterator[Any]:
        for sample in self.data:
            try:
                yield apply_transform(self.transform, dict(sample))
            except Exception as error:
                reason = root_cause(error)
                if not isinstance(reason, PolypError):
                    raise
                self.failures.append(str(reason))
                logger.error(str(reason))

    def finish(self) -> None:
        """Raises PolypError when frames were left out; each was named when it was met."""
        if self.failures:
            raise PolypError(f"{len(self.failures)} of {len(self.data)} frames could not be read and have no mask")
