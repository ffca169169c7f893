"""What has another name now. An old name is refused with the new one; it is no alias.

Whatever is known by its name today comes first: this table is asked only about words that are not.
"""

from __future__ import annotations

COMMANDS = {"evaluate-video": "score-video"}

FLAGS = {  # command -> old -> new
    "prepare": {"split": "--protocol"},
    "calibrate": {"missed": "--max-miss-rate"},
    "score": {"normalise": "--normalize"},
    "train": {"gpus": "--processes"},
    "video": {"on": "--confirm", "rate": "--fps"},
    "score-video": {"rate": "--fps"},
}

KEYS = {  # of the configs
    "window": "--image-size",
    "flips": "--tta flip",
    "keep_aspect": "--fit windows",
    "encoder_rate": "--encoder-lr-scale",
    "final_rate": "--min-lr-ratio",
    "gradient_norm": "--grad-clip-norm",
    "healthy": "--negative-crops",
    "part": "--split",
}


def renamed(word: str, command: str = "") -> str:
    """ "is called --NEW now" for an old flag of the command or an old key, else nothing."""
    word = word.lstrip("-").replace("-", "_")
    new = FLAGS.get(command, {}).get(word) or KEYS.get(word)
    return f"is called {new} now" if new else ""
