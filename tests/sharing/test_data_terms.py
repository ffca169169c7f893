"""A shared bundle says what terms its weights carry."""

from __future__ import annotations

import json

import pytest

from polyp_monai.errors import PolypError
from polyp_monai.sharing import data_terms


def trained_on(root, *names):
    (root / "models").mkdir(exist_ok=True)
    (root / data_terms.TRAINED_ON).write_text(json.dumps({"sets": [{"name": name} for name in names]}))


def test_every_set_is_there_with_its_terms_or_the_lack_of_them(tmp_path):
    assert data_terms.text(tmp_path) is None
    trained_on(tmp_path, "synthetic")
    assert data_terms.text(tmp_path) is None
    trained_on(tmp_path, "kvasir-seg", "kvasir-seg", "synthetic", "ward-7")
    text = data_terms.text(tmp_path)
    assert text.count("- ") == 2
    assert "research and educational purposes" in text
    assert "- ward-7: its terms are not recorded here" in text
    (tmp_path / data_terms.TRAINED_ON).write_text("{}")
    with pytest.raises(PolypError, match="damaged"):
        data_terms.text(tmp_path)
