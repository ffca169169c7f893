"""Some frames out of the middle of a video file, by their numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from polyp_monai.errors import PolypError
from polyp_monai.video.container import import_av, upright


def stretch(path: str | Path, first: int, last: int) -> Iterator[tuple[int, np.ndarray]]:
    """Number and picture (H, W, 3) uint8 RGB, upright, of the frames `first` to `last` of a file, in order of display.

    Frames are counted from 0 by their times, which the file tells without decoding; it is decoded from the key frame
    before `first` on.

    Raises:
        PolypError: no video, one without times, one that is shorter, or a frame that cannot be decoded.
    """
    av = import_av()
    try:
        with av.open(str(path)) as container:
            packets = container.demux(container.streams.video[0])
            times = sorted((packet.pts, packet.is_keyframe) for packet in packets if packet.pts is not None)
        if not times:
            raise PolypError(f"{path}: tells no times of its frames; convert it to mp4, e.g. with ffmpeg -i IN OUT.mp4")
        if last >= len(times):
            raise PolypError(f"{path}: has {len(times)} frames, and {last} is asked for (they count from 0)")
        number = {time: place for place, (time, _) in enumerate(times)}
        start = max((place for place in range(first + 1) if times[place][1]), default=0)
        expected = first
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            video.thread_type = "AUTO"
            container.seek(times[start][0], stream=video)
            turn = None
            for frame in container.decode(video):
                place = number.get(frame.pts, -1)
                if place < first:
                    continue
                if place != expected or frame.is_corrupt:
                    break
                turn = turn or upright(frame)
                yield place, turn(frame.to_ndarray(format="rgb24"))
                expected += 1
                if place == last:
                    return
        raise PolypError(f"{path}: frame {expected} cannot be decoded; is the file damaged or cut short?")
    except (av.FFmpegError, IndexError) as error:
        raise PolypError(f"{path}: cannot be read as a video ({error}); is it one, and is it whole?") from error
