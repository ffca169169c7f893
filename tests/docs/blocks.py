"""The blocks of code in the documentation, and how they are cut short to be run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

HOME = Path(__file__).resolve().parents[2]
PAGES = [HOME / "README.md", *sorted((HOME / "docs").glob("*.md"))]

# A training takes an epoch of small frames instead of what the page says.
SHORT = {"epochs": "1", "image_size": "64", "batch_size": "4", "device": "cpu"}

# Beginning of a command -> why no test runs it. The longest beginning counts; a line that no page needs fails.
NOT_RUN = {
    "pip install": "fetches packages",
    "make ": "installs; CI runs these targets themselves",
    "polyp serve": "runs until it is stopped; tests/serve/test_command.py does so",
    "curl ": "asks a service that runs; tests/serve does the same",
    "python examples/triton_client.py": "asks a service that runs; tests/serve/test_oip.py runs it",
    "polyp pack runs/unet --out signed.zip --sign": "takes a private key of the reader",
    "polyp inspect signed.zip": "looks at what the reader signed",
    "polyp export efficient_unet --format onnx --precision int8": "is refused: on drawn frames it loses .018 Dice",
    "polyp predict efficient_unet frames --out masks_int8": "takes the file that is refused above",
    "polyp calibrate runs/efficient_unet_neopolyp": "takes more polyps than are drawn; tests/test_classes.py does it",
    "polyp train unet --data data/kvasir --tracking mlflow": "takes MLflow, which changes other packages",
    "polyp train efficient_unet --data data/kvasir --epochs 4": "takes weights out of a package that is not pinned",
}


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, its first line, its language, its text, and the paragraph before it."""

    page: Path
    line: int
    language: str
    text: str
    before: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(HOME)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        before = text[: match.start()]
        paragraph = before.rstrip().rpartition("\n\n")[2]
        found.append(Block(page, before.count("\n") + 2, match[1], match[2], paragraph))
    return found


def commands(text: str) -> list[str]:
    """The commands of a block, a line each; comments stay where they are after one."""
    joined = re.sub(r"\\\n\s*", "", text)
    return [line.strip() for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def reason_not_to_run(command: str) -> str | None:
    """The beginning in `NOT_RUN` that the command has."""
    return max((start for start in NOT_RUN if command.startswith(start)), key=len, default=None)


def shortened(command: str) -> str:
    """The command with `SHORT` in place of what it says, if it trains."""
    more = " ".join(f"--{key} {value}" for key, value in SHORT.items())
    where = (
        r"\bpolyp (?:train|sweep) (?!-)\S+"
        if re.search("polyp (train|sweep)", command)
        else r"configs/(?:multi_gpu_)?train\.yaml(?:'\]\")?(?= )"
    )
    if not re.search(where, command):
        return command
    for key in SHORT:
        command = re.sub(rf" --{key.replace('_', '[-_]')}[ =]\S+", "", command)
    *_, last = re.finditer(where, command)
    return f"{command[: last.end()]} {more}{command[last.end() :]}"


def script(block: Block) -> str:
    """What bash is given for a block of commands; empty when none of them is run."""
    return "\n".join(shortened(line) for line in commands(block.text) if reason_not_to_run(line) is None)


def file_named_before(block: Block) -> str | None:
    """The Python file that the paragraph before the block says it is."""
    names = re.findall(r"`([\w/]+\.py)`", block.before)
    return names[-1] if names and block.before.rstrip().endswith(":") else None
