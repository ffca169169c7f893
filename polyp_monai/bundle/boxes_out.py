"""The polyps of a prediction as boxes: a COCO file, or a folder as YOLO has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from polyp_monai.bundle.options import read_settings
from polyp_monai.data import coco, files, outputs, texts, yolo
from polyp_monai.data.boxes import Box, BoxedFrame
from polyp_monai.errors import PolypError
from polyp_monai.metrics.classes import POLYP
from polyp_monai.metrics.regions import Polyp

COMMAND = "predict"


def is_coco(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def check(path: str | None, samples: Iterable[Mapping[str, Any]], overwrite: bool, skip_existing: bool) -> None:
    """Raises PolypError when the boxes of these frames cannot be written there."""
    if path is None:
        return
    target = Path(path)
    if skip_existing:
        raise PolypError(f"--boxes {path}: --skip-existing leaves out frames, and their boxes; leave one of them out")
    if is_coco(target):
        outputs.check_file(target, COMMAND, overwrite)
        return
    if target.suffix:
        raise PolypError(f"--boxes {path}: expected a .json file (COCO), or a folder (YOLO)")
    texts.check_folder(target)
    outputs.Ledger(target, COMMAND).check(_yolo_files(samples), overwrite, "give another folder")


def _yolo_files(samples: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    yield yolo.NAMES
    yield from (yolo.file_of(name_of(sample)) for sample in samples if "problem" not in sample)


def name_of(sample: Mapping[str, Any]) -> str:
    """A frame's file, with as much of its path as its mask keeps."""
    image = sample["image"]
    return f"{sample['output']}{files.suffix_of(str(getattr(image, 'meta', {}).get('filename_or_obj', image)))}"


def classes_of(root: str | Path) -> tuple[str, ...]:
    """The names of what a bundle finds, in the order of its channels."""
    return tuple(read_settings(Path(root) / "configs/model.yaml").get("classes") or POLYP)


def box_of(polyp: Polyp) -> Box:
    """A polyp as a box of its likeliest class, also where that is uncertain."""
    label = max(range(len(polyp.means)), key=polyp.means.__getitem__, default=0)
    return Box(label, polyp.box, polyp.confidence, polyp.outline, polyp.area)


class BoxesOutput:
    """Ignite handler that writes the boxes of every frame: a YOLO file as soon as it is predicted, COCO's at the end.

    Args:
        path: a .json file for COCO, another name for a folder; None writes nothing.
        samples: of the run, as `datalist.frames` has them.
        bundle_root: names the classes.
        overwrite, skip_existing: of the run.
    """

    def __init__(
        self,
        path: str | None,
        samples: Iterable[Mapping[str, Any]],
        bundle_root: str,
        overwrite: bool = False,
        skip_existing: bool = False,
    ) -> None:
        check(path, samples, overwrite, skip_existing)
        self.path, self.samples = path and Path(path).absolute(), samples
        self.classes = classes_of(bundle_root) if path else POLYP
        self.frames: list[BoxedFrame] = []

    def attach(self, engine: Any) -> None:
        from ignite.engine import Events

        if self.path:
            engine.add_event_handler(Events.STARTED, self._start)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._take)
            engine.add_event_handler(Events.COMPLETED, self._end)

    def _start(self, engine: Any) -> None:
        assert isinstance(self.path, Path)  # attached with a path alone
        self.frames.clear()
        if is_coco(self.path):
            outputs.claim_file(self.path, COMMAND)
            return
        outputs.Ledger(self.path, COMMAND).claim(_yolo_files(self.samples))
        files.write_text(self.path / yolo.NAMES, yolo.names_text(self.classes))

    def _take(self, engine: Any) -> None:
        assert isinstance(self.path, Path)
        for sample, output in zip(engine.state.batch, engine.state.output, strict=True):
            size = int(output["pred"].shape[1]), int(output["pred"].shape[2])
            frame = BoxedFrame(name_of(sample), size, [box_of(polyp) for polyp in output["polyps"]])
            if is_coco(self.path):
                self.frames.append(frame)
            else:
                files.write_text(self.path / yolo.file_of(frame.name), yolo.text(frame))

    def _end(self, engine: Any) -> None:
        assert isinstance(self.path, Path)
        if is_coco(self.path):
            coco.write(self.path, self.frames, self.classes)
