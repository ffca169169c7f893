"""Polyp segmentation in colonoscopy: data preparation, MONAI bundles, training, evaluation, prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polyp_monai.api import Bundle, Prediction, TrackedFrame, load

__version__ = "0.2.0"
__all__ = ["Bundle", "Prediction", "TrackedFrame", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """The names of `polyp_monai.api`, which is imported when the first of them is asked for."""
    if name in __all__:
        from polyp_monai import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
