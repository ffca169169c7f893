"""DICOM objects of what was found: a segmentation (SEG) of a still, a report (TID 1500) of a still or a video.

Both belong to the patient and the study of their source, and say which bundle, version and weights made them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from polyp_monai import __version__, provenance
from polyp_monai.data import dicom, files
from polyp_monai.data.datalist import PNG
from polyp_monai.data.transforms import CLASS_MAP, channels, to_pixels
from polyp_monai.errors import PolypError
from polyp_monai.metrics.classes import of_polyp
from polyp_monai.metrics.regions import Polyp
from polyp_monai.runtime.about import quiet

if TYPE_CHECKING:
    from pydicom import Dataset

MAKER = "polyp_monai"
DESCRIPTION = "Polyps found by polyp_monai; research, not a diagnosis"  # of the series; 64 characters at most
EMPTY = (  # what a source may leave out, and an object must have, if empty
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "ReferringPhysicianName"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
)
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PLACED = (  # in space and time
    *("FrameOfReferenceUID", "PositionReferenceIndicator", "NumberOfFrames", "FrameIncrementPointer"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
COLONOSCOPY = "73761001", "SCT", "Colonoscopy"
PRESENCE, ABSENT = ("705057003", "SCT", "Presence"), ("2667000", "SCT", "Absent")
POINTS = 200  # of an outline, at most


@dataclass(frozen=True)
class Algorithm:
    """What found the polyps. `weights`: sha256, hex; `threshold`: probability from which a pixel counts as polyp."""

    name: str
    version: str
    weights: str
    threshold: float

    @classmethod
    def of(cls, root: str | Path, weights: str, threshold: float) -> Algorithm:
        """That of the bundle in the folder `root`; `weights`: their sha256."""
        root = Path(root).resolve()
        version = json.loads((root / "configs/metadata.json").read_text(encoding="utf-8")).get("version", "unknown")
        return cls(root.name, str(version), weights, threshold)

    @property
    def settings(self) -> dict[str, str]:
        return {"weights_sha256": self.weights, "threshold": f"{self.threshold:g}"}


@dataclass(frozen=True)
class Region:
    """A polyp in a frame. `frame`: from 1; None of a still. `number`: of the polyp, the same from frame to frame."""

    polyp: Polyp
    number: int
    frame: int | None = None


class Series:
    """The objects of one run, of one source series each: their series is one too."""

    def __init__(self) -> None:
        self._uids: dict[str, str] = {}
        self._count = 0

    def next(self, source: Dataset) -> dict[str, Any]:
        """What identifies the next object."""
        from pydicom.uid import generate_uid

        self._count += 1
        uid = self._uids.setdefault(source.SeriesInstanceUID, generate_uid(prefix=None))
        return {
            "series_instance_uid": uid,
            "series_number": 1000 + len(self._uids),
            "sop_instance_uid": generate_uid(prefix=None),
            "instance_number": self._count,
        }


def import_highdicom() -> ModuleType:
    """highdicom. Raises PolypError when it is not installed."""
    dicom.import_pydicom()
    try:
        import highdicom.seg
        import highdicom.sr
    except ImportError as error:
        line = "DICOM objects need highdicom; install it with: pip install 'polyp_monai[dicom]'"
        raise PolypError(line) from error
    return highdicom


def source(path: Path) -> Dataset:
    """All but the pixels of a DICOM file, as the objects of it need it: the patient too.

    Raises:
        PolypError: it does not say what study, series and instance it is.
    """
    from pydicom import dcmread

    with _as_it_is(path):
        if problem := dicom.no_object(path):
            raise PolypError(f"{path}: {problem}")
        about = dcmread(path, stop_before_pixels=True)
        for name in EMPTY:
            if name not in about:
                setattr(about, name, "")
        about.setdefault("Modality", "ES")
    return about


def segmentation(
    about: Dataset, mask: np.ndarray, algorithm: Algorithm, identity: dict[str, Any], frame: int | None = None
) -> Dataset:
    """A SEG with one segment, polyp.

    Args:
        about: the `source`.
        mask: (H, W) of the source's size; bool, or float32 probabilities in 0..1 for a fractional one.
        algorithm: what made it.
        identity: of `Series.next`.
        frame: which of the source's frames, from 1; None where it has but one.
    """
    highdicom = import_highdicom()
    from pydicom.sr.codedict import codes

    by = highdicom.AlgorithmIdentificationSequence(
        algorithm.name, codes.DCM.ArtificialIntelligence, algorithm.version, MAKER, algorithm.settings
    )
    segment = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label="polyp",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.PolypOfColon,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=by,
        anatomic_regions=[codes.SCT.Colon],
    )
    fractional = mask.dtype.kind == "f"
    with _as_it_is(about.filename):
        made = highdicom.seg.Segmentation(
            source_images=[_still(about)],
            pixel_array=mask if fractional else mask.astype(np.uint8),
            segmentation_type="FRACTIONAL" if fractional else "BINARY",
            segment_descriptions=[segment],
            omit_empty_frames=False,
            content_label="POLYPS",
            content_description=DESCRIPTION,
            series_description=DESCRIPTION,
            **_equipment(algorithm),
            **identity,
        )
        made.PatientOrientation = ""  # unknown, of an endoscope
        _refer(made, about, frame)
    return made


def report(
    about: Dataset,
    regions: Iterable[Region],
    algorithm: Algorithm,
    identity: dict[str, Any],
    frame: int | None = None,
) -> Dataset:
    """A Comprehensive SR by TID 1500: of each region its outline, area and confidence, and in which frame it is.

    Args:
        about: the `source`.
        regions: none where nothing was found.
        algorithm: what found them.
        identity: of `Series.next`.
        frame: the only one that was looked at, from 1; None where it were all.
    """
    highdicom = import_highdicom()
    from pydicom.sr.codedict import codes

    sr = highdicom.sr
    with _as_it_is(about.filename):
        device = sr.DeviceObserverIdentifyingAttributes(highdicom.UID(), algorithm.name, MAKER, algorithm.version)
        polyps = _Groups(highdicom, about, algorithm)
        content = sr.MeasurementReport(
            observation_context=sr.ObservationContext(
                observer_device_context=sr.ObserverContext(codes.DCM.Device, device)
            ),
            procedure_reported=sr.CodedConcept(*COLONOSCOPY),
            imaging_measurements=[polyps.found(region) for region in regions] or [polyps.none(frame)],
            title=codes.DCM.ImagingMeasurementReport,
        )
        return sr.ComprehensiveSR(
            evidence=[about],
            content=content[0],
            is_complete=True,
            series_description=DESCRIPTION,
            **_equipment(algorithm),
            **identity,
        )


def write(path: Path, made: Dataset) -> None:
    """Write a DICOM object atomically."""
    with _as_it_is(), files.atomic(path) as partial:
        made.save_as(partial, enforce_file_format=True)


class DicomOutput:
    """Ignite handler that writes a DICOM object beside the mask of each frame that came as DICOM.

    Args:
        kind: "seg", "sr", or "png": none.
        output_dir: where the masks go.
        bundle_root, weights: folder of the bundle, and the file of its weights.
        threshold: probability from which a pixel counts as polyp.
    """

    def __init__(self, kind: str, output_dir: str, bundle_root: str, weights: str, threshold: float) -> None:
        self.kind, self.folder = kind, Path(output_dir).resolve()
        self.about = bundle_root, weights, threshold
        self.series = Series()
        self.source = lru_cache(maxsize=1)(source)  # of several frames of one file

    def attach(self, engine: Any) -> None:
        from ignite.engine import Events

        if self.kind != PNG:
            import_highdicom()
            root, weights, threshold = self.about
            self.algorithm = Algorithm.of(root, provenance.digest(Path(weights)), threshold)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._write)

    def _write(self, engine: Any) -> None:
        for sample, output in zip(engine.state.batch, engine.state.output, strict=True):
            path = str(sample["image"].meta["filename_or_obj"])
            if dicom.holds(path):
                for ending, made in self._objects(path, output):
                    write(self.folder / f"{sample['output']}{ending}.{self.kind}.dcm", made)

    def _objects(self, path: str, output: Mapping[str, Any]) -> Iterator[tuple[str, Dataset]]:
        file, number = dicom.source_of(path)
        about = self.source(file)
        if self.kind == "sr":
            regions = [Region(polyp, i, number) for i, polyp in enumerate(output["polyps"], start=1)]
            yield "", report(about, regions, self.algorithm, self.series.next(about), number)
            return
        maps = {"": to_pixels(output.get(CLASS_MAP, output["pred"])) > 0}  # of whichever class
        if "probability" in output:
            maps["_probability"] = of_polyp(channels(output["probability"]))
        for ending, values in maps.items():
            yield ending, segmentation(about, values, self.algorithm, self.series.next(about), number)


class _Groups:
    """The measurement groups of a report. A polyp has one identifier, in however many frames it is."""

    def __init__(self, highdicom: ModuleType, about: Dataset, algorithm: Algorithm) -> None:
        self.highdicom, self.about = highdicom, about
        settings = [f"{key} = {value}" for key, value in algorithm.settings.items()]
        self.by = highdicom.sr.AlgorithmIdentification(algorithm.name, algorithm.version, settings)
        self.uids: dict[int, str] = defaultdict(highdicom.UID)

    def found(self, region: Region) -> Any:
        """A polyp in a frame."""
        from pydicom.sr.codedict import codes

        sr, polyp = self.highdicom.sr, region.polyp
        frames = None if region.frame is None else [region.frame]
        image = sr.SourceImageForRegion(self.about.SOPClassUID, self.about.SOPInstanceUID, frames)
        pixels = sr.CodedConcept("{pixels}", "UCUM", "pixels")
        return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(self.uids[region.number], f"Polyp {region.number}"),
            referenced_region=sr.ImageRegion("POLYLINE", _closed(polyp), image),
            finding_type=codes.SCT.PolypOfColon,
            finding_sites=[sr.FindingSite(codes.SCT.Colon)],
            algorithm_id=self.by,
            measurements=[
                sr.Measurement(codes.SCT.Area, float(polyp.area), pixels),
                sr.Measurement(codes.DCM.CertaintyOfFinding, round(100 * polyp.confidence, 1), codes.UCUM.Percent),
            ],
        )

    def none(self, frame: int | None) -> Any:
        """That no polyp was found: a report has to hold one group at least."""
        from pydicom.sr.codedict import codes

        sr, frames = self.highdicom.sr, None if frame is None else [frame]
        image = sr.SourceImageForMeasurementGroup(self.about.SOPClassUID, self.about.SOPInstanceUID, frames)
        return sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(self.highdicom.UID(), "No polyp"),
            finding_type=codes.SCT.PolypOfColon,
            finding_sites=[sr.FindingSite(codes.SCT.Colon)],
            algorithm_id=self.by,
            source_images=[image],
            qualitative_evaluations=[sr.QualitativeEvaluation(sr.CodedConcept(*PRESENCE), sr.CodedConcept(*ABSENT))],
        )


def _closed(polyp: Polyp) -> np.ndarray:
    """(n, 2) x, y of the outline, at most `POINTS` and the first again; DICOM puts the middle of a pixel at .5."""
    outline = polyp.outline
    if len(outline) < 3:  # a speck
        x0, y0, x1, y1 = polyp.box
        return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]], np.float32)
    outline = outline[:: -(-len(outline) // POINTS)] + np.float32(0.5)
    return np.concatenate([outline, outline[:1]]).astype(np.float32)


def _equipment(algorithm: Algorithm) -> dict[str, Any]:
    return {
        "manufacturer": MAKER,
        "manufacturer_model_name": algorithm.name,
        "software_versions": (f"polyp_monai {__version__}", f"{algorithm.name} {algorithm.version}"),
        "device_serial_number": algorithm.weights,
    }


def _still(about: Dataset) -> Dataset:
    """The source as highdicom takes it: a single picture, in no space of a patient (highdicom#284)."""
    from pydicom import Dataset

    still = Dataset({element.tag: element for element in about if element.keyword not in ("SOPClassUID", *PLACED)})
    still.file_meta, still.SOPClassUID = about.file_meta, SECONDARY_CAPTURE
    return still


def _refer(made: Dataset, about: Dataset, frame: int | None) -> None:
    """Let the segmentation name the class of its source as it is, and the frame."""
    for element in made.iterall():
        if element.keyword == "ReferencedSOPClassUID":
            element.value = about.SOPClassUID
    for group in made.PerFrameFunctionalGroupsSequence if frame is not None else ():
        for image in group.DerivationImageSequence[0].SourceImageSequence:
            image.ReferencedFrameNumber = frame


@contextmanager
def _as_it_is(path: object = "the source") -> Iterator[None]:
    """Values of the source are passed on whatever they are; neither warnings nor errors, which quote them, are shown.

    Raises:
        PolypError: a value of which no object can be made, as a date that is none.
    """
    from pydicom.config import disable_value_validation

    try:
        with quiet(), disable_value_validation():
            yield
    except (PolypError, OSError):
        raise
    except Exception as error:
        what = f"what it says of its patient or study is no DICOM ({type(error).__name__})"
        raise PolypError(f"{path}: no DICOM object can be made of it; {what}") from None
