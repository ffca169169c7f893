"""What /metrics tells, in a registry of the service's own."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
STAGES = ("decode", "wait", "network", "encode")


class Meter:
    """Counters of requests, latency by stage, queue depth and batch size."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("polyp_requests", "Requests answered", ("route", "status"), registry=self.registry)
        self.frames = Counter("polyp_frames", "Frames predicted", ("bundle",), registry=self.registry)
        about = "Time of a frame in a stage"
        self.stage = Histogram("polyp_stage_seconds", about, ("stage",), buckets=SECONDS, registry=self.registry)
        about = "Frames that went through a network together"
        self.batch = Histogram("polyp_batch_size", about, buckets=(1, 2, 4, 8, 16, 32), registry=self.registry)

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """A gauge that is read when it is asked for."""
        Gauge(name, about, registry=self.registry).set_function(value)

    def stages(self, milliseconds: dict[str, float]) -> None:
        for stage in STAGES:
            self.stage.labels(stage).observe(milliseconds[stage] / 1e3)

    def text(self) -> bytes:
        return generate_latest(self.registry)
