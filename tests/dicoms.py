"""DICOM files of the tests, with a patient whose name must turn up nowhere."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pydicom = pytest.importorskip("pydicom")

from pydicom import Dataset, uid  # noqa: E402
from pydicom.dataset import FileMetaDataset  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.pixels import convert_color_space  # noqa: E402

ENDOSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.1"
VIDEO = "1.2.840.10008.5.1.4.1.1.77.1.1.1"
PHOTOGRAPHIC = "1.2.840.10008.5.1.4.1.1.77.1.4"
SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
MULTI = "1.2.840.10008.5.1.4.1.1.7.4"
H264, HEVC, MPEG2 = (f"1.2.840.10008.1.2.4.{number}" for number in (102, 107, 100))
PATIENT = {
    "PatientName": "Zebrowska^Jane",
    "PatientID": "MRN-4711",
    "PatientBirthDate": "19500101",
    "PatientSex": "F",
    "AccessionNumber": "ACC-99",
    "InstitutionName": "Spital Linz",
}
SECRETS = ("Zebrowska", "MRN-4711", "19500101", "ACC-99", "Spital Linz")


def scene(size: tuple[int, int] = (96, 80), left: int = 30) -> np.ndarray:
    """(H, W, 3) uint8: a slope of greys with a red square."""
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    image[...] = np.linspace(60, 140, width).astype(np.uint8)[None, :, None]
    image[20:56, left : left + 40] = (230, 20, 20)
    return image


def dataset(pixels: np.ndarray, kind: str = ENDOSCOPIC, **elements) -> Dataset:
    """A picture (H, W[, 3]) or several (N, H, W[, 3]), uncompressed; `elements` come last."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = kind, uid.generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid.generate_uid(), uid.generate_uid()
    for key, value in PATIENT.items():
        setattr(ds, key, value)
    ds.StudyDate, ds.StudyTime, ds.StudyID = "20240102", "101112", "7"
    ds.Modality, ds.Manufacturer, ds.InstanceNumber, ds.SeriesNumber = "ES", "Maker", 1, 1
    several = pixels.ndim == 4 or (pixels.ndim == 3 and pixels.shape[2] != 3)
    frames = pixels if several else pixels[None]
    if several:
        ds.NumberOfFrames = len(frames)
    ds.Rows, ds.Columns = frames.shape[1:3]
    ds.SamplesPerPixel = 3 if frames.ndim == 4 else 1
    if frames.ndim == 4:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = "RGB" if frames.ndim == 4 else "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8 * frames.itemsize
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, 0
    ds.PixelData = frames.tobytes()
    ds["PixelData"].VR = "OB" if frames.itemsize == 1 else "OW"
    for key, value in elements.items():
        setattr(ds, key, value)
    return ds


def save(ds: Dataset, path: Path, **words) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True, **words)
    return path


def write(path: Path, pixels: np.ndarray, kind: str = ENDOSCOPIC, **elements) -> Path:
    return save(dataset(pixels, kind, **elements), path)


def compressed(ds: Dataset, frames: list[bytes], syntax: str, photometric: str) -> Dataset:
    ds.file_meta.TransferSyntaxUID, ds.PhotometricInterpretation = syntax, photometric
    ds.PixelData = encapsulate(frames)
    ds["PixelData"].is_undefined_length = True
    return ds


def pillow(pixels: np.ndarray, kind: str, **words) -> bytes:
    Image.fromarray(pixels).save(buffer := io.BytesIO(), kind, **words)
    return buffer.getvalue()


def in_syntax(name: str, pixels: np.ndarray, kind: str = ENDOSCOPIC) -> Dataset:
    """The picture or pictures in a transfer syntax, by the name of a test."""
    frames = list(pixels if pixels.ndim == 4 else pixels[None])
    ds = dataset(pixels, kind)
    if name == "jpeg":
        streams = [pillow(frame, "JPEG", quality=95, subsampling=0) for frame in frames]
        return compressed(ds, streams, uid.JPEGBaseline8Bit, "YBR_FULL_422")
    if name in ("j2k", "j2k-lossless"):
        lossless = name == "j2k-lossless"
        streams = [pillow(frame, "JPEG2000", no_jp2=True, irreversible=not lossless, mct=1) for frame in frames]
        syntax = uid.JPEG2000Lossless if lossless else uid.JPEG2000
        return compressed(ds, streams, syntax, "YBR_RCT" if lossless else "YBR_ICT")
    if name == "rle":
        ds.compress(uid.RLELossless, generate_instance_uid=False)
    elif name == "deflated":
        ds.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    elif name == "implicit":
        ds.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
    elif name == "big-endian":
        ds.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
    elif name == "jpeg-ls":
        ds.compress(uid.JPEGLSLossless, generate_instance_uid=False)
    elif name == "jpeg-lossless":
        return by_gdcm(ds)
    else:
        assert name == "plain"
    return ds


def by_gdcm(ds: Dataset) -> Dataset:
    """The same in JPEG Lossless, which no other package writes; its sides are even."""
    gdcm = pytest.importorskip("gdcm")
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = (f"{folder}/{name}" for name in ("plain", "packed"))
        ds.save_as(plain, enforce_file_format=True)
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(plain)
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(packed)
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return pydicom.dcmread(packed)


def in_color(name: str, pixels: np.ndarray) -> Dataset:
    """The picture (H, W, 3) in a photometric interpretation, uncompressed, by the name of a test."""
    grey = pixels[..., 1]
    if name == "planar":
        ds = dataset(pixels, PlanarConfiguration=1)
        ds.PixelData = np.ascontiguousarray(pixels.transpose(2, 0, 1)).tobytes()
        return ds
    if name in ("YBR_FULL", "YBR_FULL_422"):
        ybr = convert_color_space(pixels, "RGB", "YBR_FULL")
        if name == "YBR_FULL_422":  # Y Y Cb Cr of two pixels
            ybr = np.stack([ybr[:, ::2, 0], ybr[:, 1::2, 0], ybr[:, ::2, 1], ybr[:, ::2, 2]], axis=-1)
        ds = dataset(pixels, PhotometricInterpretation=name)
        ds.PixelData = ybr.tobytes()
        return ds
    if name == "RGB 16":
        return dataset(pixels.astype(np.uint16) * 257)
    if name == "PALETTE COLOR":
        colors, index = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
        ds = dataset(index.reshape(pixels.shape[:2]).astype(np.uint8), PhotometricInterpretation=name)
        for i, color in enumerate(("Red", "Green", "Blue")):
            setattr(ds, f"{color}PaletteColorLookupTableDescriptor", [len(colors), 0, 16])
            setattr(ds, f"{color}PaletteColorLookupTableData", (colors[:, i].astype("<u2") << 8).tobytes())
        return ds
    if name == "MONOCHROME1":
        return dataset(255 - grey, PhotometricInterpretation=name)
    return dataset(grey if name == "MONOCHROME2" else pixels)
