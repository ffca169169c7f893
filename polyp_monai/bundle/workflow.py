"""MONAI's workflow of a bundle, run from wherever the process works."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from polyp_monai.bundle.read import settle


class Workflow(ConfigWorkflow):
    """`python -m monai.bundle run`, without a change of the working directory or of `sys.path`.

    Args:
        root: folder of the bundle, absolute.
        config: "train", "evaluate" or "inference".
        given: arguments of `ConfigWorkflow` and overrides of the config.
        log: whether logging is set up as the bundle's logging.conf says.
    """

    def __init__(self, root: Path, config: str, given: dict[str, Any], log: bool) -> None:
        logs = logging.getLogger(ConfigWorkflow.__module__)
        logs.addFilter(_is_news)
        try:
            options = {} if log else {"logging_file": False}
            super().__init__(str(root / f"configs/{config}.yaml"), **{**options, **given, "bundle_root": str(root)})
        finally:
            logs.removeFilter(_is_news)
        settle(self.parser, root)

    def run(self) -> Any:
        """As MONAI's, which would put the bundle's folder before the installed packages on `sys.path`."""
        return self._run_expr(id=self.run_id)


def _is_news(record: logging.LogRecord) -> bool:
    """MONAI tells, on stdout, where the logging comes from, and warns when it is left as it is."""
    return record.getMessage().partition(" ")[0] not in ("Setting", "Logging")
