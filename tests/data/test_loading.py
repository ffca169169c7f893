"""Loading beside the network: everything comes, in order, and an error in the loading thread is an error of the run."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from monai.data import CacheDataset, Dataset
from monai.engines import SupervisedEvaluator
from monai.inferers import SimpleInferer
from monai.transforms import Compose, Transform
from torch import nn, rand

from polyp_monai.data.loading import FrameDataset, JoinedCacheDataset, NegativeShare, PrefetchLoader
from polyp_monai.errors import PolypError, root_cause


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


def test_the_cache_is_what_monai_would_hold():
    data, transform = [{"name": n} for n in range(7)], Compose([lambda s: {**s, "twice": 2 * s["name"]}])
    ours, theirs = (kind(data, transform, num_workers=3, progress=False) for kind in (JoinedCacheDataset, CacheDataset))
    assert [ours[i] for i in range(7)] == [theirs[i] for i in range(7)]
    assert len(JoinedCacheDataset(data, transform, cache_rate=0.5, progress=False)._cache) == 3


def test_no_thread_of_the_cache_outlives_an_error():
    """A process that ends while one of them is inside a decoder is aborted."""

    class Slow(Transform):
        def __call__(self, sample):
            if sample["name"] == 0:
                raise PolypError("frame is damaged")
            time.sleep(0.2)
            return sample

    before = set(threading.enumerate())
    with pytest.raises(RuntimeError) as caught:
        JoinedCacheDataset([{"name": n} for n in range(50)], Compose([Slow()]), num_workers=3, progress=False)
    assert isinstance(root_cause(caught.value), PolypError)
    assert set(threading.enumerate()) == before


def test_workers_would_read_every_frame_twice():
    loader = PrefetchLoader(FrameDataset([{"name": 1}], dict), batch_size=1, num_workers=2)
    with pytest.raises(PolypError, match="num_workers must be 0"):
        list(loader)


def drawn(positives: int, negatives: int, share: float | None, seed: int = 0) -> list[int]:
    """An epoch; the negatives come after the positives in the data."""
    torch.manual_seed(seed)
    samples = [{"negative": i >= positives} for i in range(positives + negatives)]
    sampler = NegativeShare(samples, share)
    order = list(sampler)
    assert len(order) == len(sampler)
    return order


@pytest.mark.parametrize(("negatives", "share"), [(7, 0.25), (300, 0.5), (40, 0.3)])
def test_each_batch_has_its_share_of_negatives_and_each_epoch_every_polyp(negatives, share):
    order = drawn(90, negatives, share)
    assert sorted(i for i in order if i < 90) == list(range(90))
    for start in range(0, len(order) - 8, 8):
        assert sum(i >= 90 for i in order[start : start + 8]) == pytest.approx(8 * share, abs=1)
    shown = [i for i in order if i >= 90]
    assert len(shown) == round(90 * share / (1 - share))
    if len(shown) > negatives:  # each as often as any other, nearly
        counts = [shown.count(i) for i in range(90, 90 + negatives)]
        assert max(counts) - min(counts) <= 1
    else:
        assert len(set(shown)) == len(shown)


def test_epochs_differ_and_a_seed_repeats_them():
    assert drawn(20, 10, 0.3) == drawn(20, 10, 0.3)
    assert drawn(20, 10, 0.3) != drawn(20, 10, 0.3, seed=1)


@pytest.mark.parametrize(("positives", "negatives", "share"), [(9, 0, 0.3), (0, 9, 0.3), (6, 3, None)])
def test_without_a_choice_every_frame_comes_once(positives, negatives, share):
    assert sorted(drawn(positives, negatives, share)) == list(range(positives + negatives))


def test_a_share_of_nothing_but_negatives_is_refused():
    with pytest.raises(PolypError, match=r"negatives 1\.0"):
        drawn(3, 3, 1.0)


@pytest.mark.parametrize(("count", "expected"), [(22, 16), (16, 16), (5, 5)])
def test_an_epoch_is_whole_batches_where_there_is_one(count, expected):
    sampler = NegativeShare([{"negative": False}] * count, None, batch_size=8)
    assert len(sampler) == len(list(sampler)) == expected
