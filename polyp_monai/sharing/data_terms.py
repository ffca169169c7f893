"""The terms of the data that weights were trained on, as docs/data_license.txt of a packed bundle states them."""

from __future__ import annotations

import json
from pathlib import Path

from polyp_monai.errors import PolypError

NAME = "docs/data_license.txt"
TRAINED_ON = "models/trained_on.json"
KNOWN = {  # name of a prepared set -> its terms, None where there are none
    "synthetic": None,
    "kvasir-seg": "Kvasir-SEG (https://datasets.simula.no/kvasir-seg/): restricted for research and educational "
    "purposes; cite Jha et al., Kvasir-SEG: A Segmented Polyp Dataset, MMM 2020.",
    "cvc-clinicdb": "CVC-ClinicDB (https://polyp.grand-challenge.org/CVCClinicDB/): research and education, not for "
    "commercial use; cite Bernal et al., Computerized Medical Imaging and Graphics 43, 2015.",
}
HEAD = "The weights of this bundle were trained on the data below and carry their terms.\n"
UNKNOWN = "{}: its terms are not recorded here; ask those who provide it, and write them down in this file."


def text(root: Path) -> str | None:
    """The file's content for the bundle in `root`; None where no data has terms, or none is known.

    Raises:
        PolypError: models/trained_on.json is damaged.
    """
    path = root / TRAINED_ON
    if not path.is_file():
        return None
    try:
        names = dict.fromkeys(str(found["name"]) for found in json.loads(path.read_text(encoding="utf-8"))["sets"])
    except (ValueError, KeyError, TypeError) as error:
        raise PolypError(f"{path}: is damaged; delete it, and write {NAME} by hand") from error
    terms = [KNOWN.get(name, UNKNOWN.format(name or "a set without a name")) for name in names]
    lines = [f"- {term}\n" for term in terms if term]
    return "\n".join([HEAD, *lines]) if lines else None
