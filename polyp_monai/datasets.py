"""A dataset for prediction that outlives damaged files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from monai.data import IterableDataset
from monai.transforms import apply_transform

from polyp_monai.errors import PolypError, root_cause

logger = logging.getLogger(__name__)


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
