"""`polyp prepare folder` of DICOM frames."""

from __future__ import annotations

import json

import numpy as np
from tiny_sets import frame, polyp

from polyp_monai.data import files
from tests import dicoms


def test_dicom_frames_become_pngs_without_their_patient(tmp_path, prepare):
    names = ["1.2.3.4", "1.2.3.5", "a.dcm", "b"]
    for index, name in enumerate(names):
        pixels = frame(index)
        dicoms.write(tmp_path / "raw/images" / name, pixels, BurnedInAnnotation="YES" if name == "b" else "NO")
        files.write_mask(tmp_path / f"raw/masks/{name.removesuffix('.dcm')}.png", polyp())
    several = np.stack([frame(8), frame(9)])
    dicoms.write(tmp_path / "raw/images/cine", several, dicoms.MULTI)
    for number in (1, 2):  # as `polyp predict` names them
        files.write_mask(tmp_path / f"raw/masks/cine/{number}.png", polyp())
    assert prepare("folder", "--source", tmp_path / "raw", "--out", tmp_path / "out")[0] == 0

    made = {path.name for path in (tmp_path / "out/images").iterdir()}
    assert made == {"1.2.3.4.png", "1.2.3.5.png", "a.png", "b.png", "cine__1.png", "cine__2.png"}
    assert (files.read_rgb(tmp_path / "out/images/cine__2.png") == frame(9)).all()
    assert (files.read_rgb(tmp_path / "out/images/1.2.3.5.png") == frame(1)).all()
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert not any(secret.encode() in written for secret in dicoms.SECRETS)
    findings = json.loads((tmp_path / "out/audit.json").read_text())["findings"]
    (text,) = [finding for finding in findings if finding["code"] == "burned-in-text"]
    assert text["files"] == ["images/b"]
