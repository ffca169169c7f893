"""The napari plugin: its manifest, its function on arrays, and, where napari is installed, its widget."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import numpy as np
import pytest
import yaml

from polyp_monai import napari_plugin
from polyp_monai.errors import PolypError

HOME = Path(__file__).resolve().parents[1]


def scene(left: int = 30) -> np.ndarray:
    """(80, 96, 3): grey with two red squares."""
    image = np.full((80, 96, 3), 110, np.uint8)
    image[10:30, 5:25] = image[20:56, left : left + 40] = (230, 20, 20)
    return image


def test_the_manifest_names_a_function_and_travels_in_the_wheel():
    manifest = yaml.safe_load((HOME / "polyp_monai/napari.yaml").read_text())
    assert (
        'entry-points."napari.manifest"]\npolyp_monai = "polyp_monai:napari.yaml"'
        in (HOME / "pyproject.toml").read_text()
    )
    (command,), (widget,) = (manifest["contributions"][kind] for kind in ("commands", "widgets"))
    module, _, name = command["python_name"].partition(":")
    assert getattr(importlib.import_module(module), name) is napari_plugin.outline_polyps
    assert (manifest["name"], widget["command"]) == ("polyp_monai", command["id"])


def test_an_array_gives_numbered_polyps(sees_red):
    labels = napari_plugin.outline_polyps(scene(), str(sees_red))
    assert (labels.dtype, labels.shape, sorted(set(labels.ravel()))) == (np.int32, (80, 96), [0, 1, 2])
    inside = scene()[..., 0] == 230
    assert (labels > 0)[inside].mean() > 0.95
    assert (labels > 0)[~inside].mean() < 0.05
    stack = napari_plugin.outline_polyps(np.stack([scene(), scene(50)]), str(sees_red))
    assert (stack[0] == labels).all()
    assert stack.shape == (2, 80, 96)
    assert not napari_plugin.outline_polyps(scene()[..., 0], str(sees_red), 0.9).any()  # grey is not red
    with pytest.raises(PolypError, match=r"an image of shape \(2, 2, 80, 96, 3\)"):
        napari_plugin.outline_polyps(np.zeros((2, 2, 80, 96, 3), np.uint8))


@pytest.mark.slow
def test_the_widget_of_the_installed_plugin(sees_red):
    """In an environment of its own, as napari brings Qt, with the wheel installed, and a display (Xvfb)."""
    napari = pytest.importorskip("napari")
    if not os.environ.get("DISPLAY"):
        pytest.skip("needs a display")
    viewer = napari.Viewer(show=False)
    try:
        viewer.add_image(scene(), name="frame")
        _, widget = viewer.window.add_plugin_dock_widget("polyp_monai", "Outline polyps")
        widget.bundle.value = str(sees_red)
        widget()
        (layer,) = [layer for layer in viewer.layers if isinstance(layer, napari.layers.Labels)]
        assert (np.asarray(layer.data) == napari_plugin.outline_polyps(scene(), str(sees_red))).all()
    finally:
        viewer.close()
