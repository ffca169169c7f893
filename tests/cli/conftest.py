"""What the tests of the commands share."""

from __future__ import annotations

from polyp_monai.cli.main import main


def fails(capsys, *words: object, status: int = 1) -> str:
    """The one line that a mistake gets."""
    lines = mistakes(capsys, *words, status=status)
    assert len(lines) == 1, lines
    return lines[0]


def mistakes(capsys, *words: object, status: int) -> list[str]:
    """The lines that mistakes get; a warning or a progress line is none."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == status
    shown = capsys.readouterr()
    return [line for line in shown.err.splitlines() if line.startswith("polyp: error:")]
