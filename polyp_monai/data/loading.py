"""Reading frames beside the network: past damaged files in prediction, and never past an error unnoticed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from ignite.engine import Engine
from monai.data import CacheDataset, DataLoader, IterableDataset
from monai.engines.utils import IterationEvents
from monai.transforms import apply_transform
from torch.utils.data import Sampler, get_worker_info
from tqdm import tqdm

from polyp_monai.data.dicom import burned_in_line
from polyp_monai.data.search import passed_over_line
from polyp_monai.errors import FramesLeftOutError, PolypError, counted, root_cause

logger = logging.getLogger(__name__)


class NegativeShare(Sampler[int]):
    """Every frame with a polyp once an epoch, in random order, among a stated share of negatives.

    The share holds in each batch as nearly as whole frames allow. Negatives are drawn without repeats as long as there
    are enough; where there are none, or nothing else, it is a plain shuffle. What would fill the last batch in part is
    left for another epoch. Draws from torch's own generator, as a shuffled `DataLoader` does.

    Args:
        samples: of a data list; `negative` says which show no polyp.
        share: of negatives, from 0 to below 1; None takes every frame as it comes.
        batch_size: frames in a batch, over all processes.
    """

    def __init__(self, samples: Sequence[dict], share: float | None, batch_size: int = 1) -> None:
        negative = [i for i, sample in enumerate(samples) if sample["negative"]]
        positive = [i for i, sample in enumerate(samples) if not sample["negative"]]
        if share is None or not negative or not positive:
            negative, positive, share = [], list(range(len(samples))), 0.0
        if not 0 <= share < 1:
            raise PolypError(f"negatives {share}: expected a share from 0 to below 1")
        self.negative, self.positive = torch.tensor(negative), torch.tensor(positive)
        self.wanted = round(len(positive) * share / (1 - share))
        self.batch_size = batch_size

    def __len__(self) -> int:
        drawn = len(self.positive) + self.wanted
        return drawn - drawn % self.batch_size or drawn

    def __iter__(self) -> Iterator[int]:
        positive = iter(_shuffled(self.positive))
        rounds = -(-self.wanted // max(1, len(self.negative)))
        negative = iter([i for _ in range(rounds) for i in _shuffled(self.negative)])
        drawn = len(self.positive) + self.wanted
        for place in range(len(self)):
            # evenly strewn: the count of negatives rises by one wherever share * place passes a whole number
            due = (place + 1) * self.wanted // drawn > place * self.wanted // drawn
            yield next(negative if due else positive)


def _shuffled(indices: torch.Tensor) -> list[int]:
    return indices[torch.randperm(len(indices))].tolist()


class PrefetchLoader(DataLoader):
    """A `DataLoader` that, as a handler of an engine, loads the next batch while this one is postprocessed.

    It starts when the network is done: on a CPU a thread beside the network slows both. MONAI's `ThreadDataLoader` does
    not wait; and when its thread fails it ends as if everything had been read, so that scores are over some frames.
    """

    def __iter__(self) -> Iterator[Any]:
        self._batches = super().__iter__()
        self._next: Future | None = None
        with ThreadPoolExecutor(1) as self._thread:
            while (batch := self._next.result() if self._next else next(self._batches, None)) is not None:
                self._next = None
                yield batch

    def attach(self, engine: Engine) -> None:
        """Load ahead in each of the engine's iterations."""
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self._load_ahead)

    def _load_ahead(self) -> None:
        self._next = self._thread.submit(next, self._batches, None)


class JoinedCacheDataset(CacheDataset):
    """A `CacheDataset` whose threads have ended when it is there, or when a frame was an error.

    MONAI's are left at work after an error, and a process that ends while one of them decodes is aborted (SIGABRT,
    "terminate called without an active exception").
    """

    def _fill_cache(self, indices: Sequence[int] | None = None) -> list:
        indices = range(self.cache_num) if indices is None else indices
        with ThreadPoolExecutor(self.num_workers) as pool:  # leaving it waits
            try:
                items = pool.map(self._load_cache_item, indices)
                return list(tqdm(items, "read", len(indices), unit="frame", disable=not self.progress, leave=False))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


class FrameDataset(IterableDataset):
    """Yields every sample that can be read, names the others, and goes on; names what `datalist.Frames` passed over.

    Call `finish` after the run: it raises when a frame was left out, so that a batch job notices.
    """

    def __init__(self, data: Sequence[dict], transform: Callable) -> None:
        super().__init__(data=data, transform=transform)
        self.failures: list[str] = []

    def __iter__(self) -> Iterator[Any]:
        if get_worker_info() is not None:
            raise PolypError("num_workers must be 0 here: each worker would read every frame")
        if passed_over := getattr(self.data, "passed_over", ()):
            logger.warning(passed_over_line(passed_over))
        if burned_in := getattr(self.data, "burned_in", ()):
            logger.warning(burned_in_line(burned_in))
        for sample in self.data:
            if "problem" in sample:
                self._leave_out(sample["problem"])
                continue
            try:
                yield apply_transform(self.transform, dict(sample))
            except Exception as error:
                reason = root_cause(error)
                if not isinstance(reason, PolypError):
                    raise
                self._leave_out(str(reason))

    def _leave_out(self, reason: str) -> None:
        self.failures.append(reason)
        logger.error(reason)

    def finish(self) -> None:
        """Raises PolypError when frames were left out; each was named when it was met."""
        if self.failures:
            of = f"{len(self.failures)} of {counted(len(self.data), 'frame')}"
            raise FramesLeftOutError(f"{of} got no mask; what is wrong with each was said before")
        logger.info(f"{counted(len(self.data), 'frame')} predicted")
