"""Lists on disk: as long as need be, in flat memory, in their order."""

from __future__ import annotations

import tracemalloc

from polyp_monai.data.listing import DiskSet, Listing


def peak(count: int) -> int:
    """Bytes that Python holds at most for a list of so many frames."""
    tracemalloc.start()
    listing = Listing()
    for number in range(count):
        listing.add(f"/frames/{number:08d}.png", f"{number:08d}")
    assert not listing.meet()
    listing.keep(lambda frame: frame.position % 2 == 0)
    assert sum(1 for _ in listing) == len(listing) == count // 2
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return highest


def test_four_times_the_frames_take_no_more_memory():
    peak(2_000)
    assert peak(8_000) < 1.3 * peak(2_000)


def test_frames_stay_in_order_and_each_path_once():
    listing = Listing()
    for path in ("b.png", "a.png", "b.png", "\udcff.png"):  # the last is no UTF-8
        listing.add(path, path[0])
    assert [frame.path for frame in listing] == ["b.png", "a.png", "\udcff.png"]
    listing.add("b.jpg", "b")
    assert listing.meet()
    listing.rename(lambda frame: frame.path, among_equals=True)
    assert [frame.output for frame in listing] == ["b.png", "a", "\udcff", "b.jpg"]
    assert not listing.meet()


def test_a_set_knows_what_is_new():
    names = DiskSet()
    assert [names.add(name) for name in ("a", "b", "a")] == [True, True, False]
    assert "b" in names
    assert "c" not in names
