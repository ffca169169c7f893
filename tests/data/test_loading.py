"""Loading beside the network: everything comes, in order, and an error in the loading thread is an error of the run."""

from __future__ import annotations

import pytest
from monai.data import Dataset
from monai.engines import SupervisedEvaluator
from monai.inferers import SimpleInferer
from torch import nn, rand

from polyp_monai.data.loading import FrameDataset, PrefetchLoader
from polyp_monai.errors import PolypError


def run(transform, count: int = 5) -> list[int]:
    """Names of the samples that an engine saw, with the loader as its handler."""
    loader = PrefetchLoader(Dataset([{"name": n} for n in range(count)], transform), batch_size=2, num_workers=0)
    seen: list[int] = []
    engine = SupervisedEvaluator(
        device="cpu", val_data_loader=loader, network=nn.Identity(), inferer=SimpleInferer(), val_handlers=[loader]
    )
    engine.add_event_handler("ITERATION_COMPLETED", lambda e: seen.extend(int(s["name"]) for s in e.state.batch))
    engine.run()
    return seen


def test_every_sample_comes_once_and_in_order():
    assert run(lambda s: {**s, "image": rand(1, 4, 4)}) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("bad", [0, 3])
def test_an_error_in_the_thread_ends_the_run(bad):
    def transform(sample):
        if sample["name"] == bad:
            raise PolypError("frame is damaged")
        return {**sample, "image": rand(1, 4, 4)}

    with pytest.raises(RuntimeError) as caught:
        run(transform)
    assert "frame is damaged" in str(caught.value.__cause__)


def test_without_an_engine_it_is_a_plain_loader():
    loader = PrefetchLoader(Dataset([{"name": n} for n in range(3)]), batch_size=1, num_workers=0)
    assert [int(batch["name"]) for batch in loader] == [0, 1, 2]


def test_workers_would_read_every_frame_twice():
    loader = PrefetchLoader(FrameDataset([{"name": 1}], dict), batch_size=1, num_workers=2)
    with pytest.raises(PolypError, match="num_workers must be 0"):
        list(loader)
