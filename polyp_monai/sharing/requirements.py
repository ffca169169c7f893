"""Judges a requirements.txt, which people hand to pip: it installs whatever stands there, from wherever."""

from __future__ import annotations

import re
from collections.abc import Iterator

from polyp_monai.sharing.findings import BundleFinding, Level

PINNED = re.compile(r"([A-Za-z0-9][\w.-]*)\s*(?:[=<>!~]=?=?\s*[\w.*+!-]+\s*,?\s*)*", re.ASCII)
KNOWN = frozenset(
    """
    monai torch numpy fire pyyaml pytorch-ignite opencv-python-headless pillow nibabel scikit-image scipy tqdm
    tensorboard tifffile jinja2 jsonschema filelock einops matplotlib itk pandas onnx onnxruntime openvino safetensors
    """.split()  # noqa: SIM905
)


def examine(text: str, name: str) -> Iterator[BundleFinding]:
    """A finding for each line that asks for something."""
    for line in text.splitlines():
        line = line.partition("#")[0].strip()
        if not line:
            continue
        match = PINNED.fullmatch(line)
        if not match:
            yield BundleFinding(Level.DANGEROUS, "package", name, line, "pip takes it from elsewhere, or as an option")
        elif re.sub(r"[-_.]+", "-", match[1]).lower() in KNOWN:
            yield BundleFinding(Level.KNOWN, "package", name, line)
        else:
            yield BundleFinding(Level.UNKNOWN, "package", name, line, "not on the list of packages that bundles need")
