"""What the routes share: the bundles, the bounds, the counters."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from fastapi import HTTPException, Request

from polyp_monai.api import Bundle
from polyp_monai.serve.body import Held
from polyp_monai.serve.bundles import ServedBundle
from polyp_monai.serve.limits import Limits, Room
from polyp_monai.serve.meter import Meter
from polyp_monai.serve.source import Follower

THREADS = max(2, min(8, os.cpu_count() or 1))  # that decode and encode; the network has one of its own


class Service:
    """Loaded bundles, and all that is bounded or counted.

    Args:
        bundles: name -> bundle; the first is the default.
        samples: gives PNGs of frames to try; called once, when they are asked for.
        source: address of a video that is followed with the default bundle.
    """

    def __init__(
        self,
        bundles: Mapping[str, Bundle],
        limits: Limits,
        samples: Callable[[], Sequence[bytes]],
        source: str | None = None,
    ) -> None:
        self.limits, self.meter = limits, Meter()
        self.pool = ThreadPoolExecutor(THREADS, "polyp-frames")
        self.bundles = {
            name: ServedBundle(name, bundle, limits, self.meter, self.pool) for name, bundle in bundles.items()
        }
        self.requests = Room(limits.queue, "the queue is full")
        self.streams = Room(limits.streams, "as many videos as can be are followed already")
        self.viewers = Room(limits.viewers, "as many as can be watch already")
        self.held = Held(limits.held)
        self.stopping = asyncio.Event()
        self._samples, self._made = samples, asyncio.Lock()
        self._frames: Sequence[bytes] = ()
        default = next(iter(bundles.values()))
        self.follower = Follower(default, source) if source else None
        watch = self.meter.watch
        watch("polyp_queue_depth", "Frames that wait for a network", lambda: sum(len(b.batches) for b in self._served))
        watch("polyp_requests_in_progress", "Requests under way", lambda: self.requests.taken)
        watch("polyp_streams", "Clips and live pictures that are followed", lambda: self.streams.taken)

    @property
    def _served(self) -> list[ServedBundle]:
        return list(self.bundles.values())

    @property
    def default(self) -> str:
        return next(iter(self.bundles))

    @property
    def ready(self) -> bool:
        return not self.stopping.is_set() and all(bundle.batches.alive for bundle in self._served)

    def bundle(self, name: str | None) -> ServedBundle:
        """Raises HTTPException 404."""
        found = self.bundles.get(name or self.default)
        if found is None:
            raise HTTPException(404, f"no such bundle; there are {', '.join(self.bundles)}")
        return found

    async def samples(self) -> Sequence[bytes]:
        async with self._made:
            if not self._frames:
                self._frames = await asyncio.get_running_loop().run_in_executor(self.pool, self._samples)
        return self._frames

    def stop(self) -> None:
        """End what has no end of its own; the event loop's thread calls it when the process is asked to stop."""
        self.stopping.set()
        if self.follower:
            self.follower.stop()

    def close(self) -> None:
        """Stop the threads."""
        if self.follower:
            self.follower.close()
        for bundle in self._served:
            bundle.close()
        self.pool.shutdown(cancel_futures=True)


def service_of(request: Request) -> Service:
    return request.app.state.service
