"""What `--tracking mlflow` logs: MONAI's MLflow handler, of which each training and evaluation is a run of its own.

The server is that of MLFLOW_TRACKING_URI, else a database in the run's output folder.
"""

from __future__ import annotations

import csv
import hashlib
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.handlers import MLFlowHandler
from monai.utils import path_to_sqlite_uri

from polyp_monai import provenance

EXPERIMENT = "polyp_monai"


class _Tracked(MLFlowHandler):
    """A run of MLflow, known again by folder and machine, so that a resumed training goes on in its run."""

    def __init__(self, folder: Path, kind: str, output_dir: Path, parameters: Mapping[str, Any]) -> None:
        place = hashlib.sha256(f"{platform.node()}:{folder.resolve()}".encode()).hexdigest()[:8]
        super().__init__(
            tracking_uri=path_to_sqlite_uri(str(output_dir.resolve() / "mlruns.db")),
            experiment_name=EXPERIMENT,
            run_name=f"{folder.resolve().name}-{kind}-{place}",
            iteration_log=False,
            experiment_param={key: str(value)[:500] for key, value in parameters.items()},  # MLflow's limit is 6,000
        )
        output_dir.mkdir(parents=True, exist_ok=True)

    def attach(self, engine: Engine) -> None:
        super().attach(engine)
        engine.add_event_handler(Events.COMPLETED, self.close)

    def _keep(self, path: Path, place: str) -> None:
        """A file, or a folder with all below it, as an artefact."""
        run = self.cur_run.info.run_id
        if path.is_dir():
            self.client.log_artifacts(run, str(path), place)
        elif path.is_file():
            self.client.log_artifact(run, str(path), place)

    def _end_earlier(self) -> None:
        """A run of this name that was killed ends here: what is trained over it is another one."""
        self._set_experiment()
        for run in self.client.search_runs([self.experiment.experiment_id]):
            if run.info.run_name == self.run_name and run.info.status == "RUNNING":
                self.client.set_terminated(run.info.run_id, "KILLED")


class TrackedTraining(_Tracked):
    """Logs the recipe with the data list's digest, the row of each epoch, and at the end the bundle with its curves.

    Args:
        bundle_root, ckpt_dir, output_dir: folders of the training; the last holds training.csv.
        recipe: what is logged as parameters.
        resumed: whether the training goes on, and with it its run.
    """

    def __init__(
        self, bundle_root: str, ckpt_dir: str, output_dir: str, recipe: Mapping[str, Any], resumed: bool
    ) -> None:
        self.root, self.ckpt_dir, self.output_dir = Path(bundle_root), Path(ckpt_dir), Path(output_dir)
        super().__init__(self.root, "train", self.output_dir, {**recipe, "bundle": self.root.resolve().name})
        self.resumed = resumed

    def start(self, engine: Engine) -> None:
        if not self.resumed:
            self._end_earlier()
        super().start(engine)

    def epoch_completed(self, engine: Engine) -> None:
        """Of every epoch what stands in training.csv."""
        with open(self.output_dir / "training.csv", newline="", encoding="utf-8") as file:
            row = list(csv.DictReader(file))[-1]
        self._log_metrics({key: float(text) for key, text in row.items() if text}, step=int(row["epoch"]))

    def complete(self) -> None:
        for name in ("configs", "docs", "LICENSE"):
            self._keep(self.root / name, f"bundle/{name}" if (self.root / name).is_dir() else "bundle")
        for name in ("model.pt", provenance.TRAINED_ON):
            self._keep(self.ckpt_dir / name, "bundle/models")
        self._keep(self.output_dir / "training.csv", "curves")


class TrackedEvaluation(_Tracked):
    """Logs what was evaluated, the mean scores, and the report with its tables.

    Args:
        bundle_root: folder of the bundle.
        output_dir: folder of the run, which the handlers before this one fill.
        split: of the data list.
    """

    def __init__(self, bundle_root: str, output_dir: str, split: str) -> None:
        self.output_dir = Path(output_dir)
        super().__init__(Path(bundle_root), f"evaluate-{split}", self.output_dir, {})

    def start(self, engine: Engine) -> None:
        self._end_earlier()
        super().start(engine)

    def epoch_completed(self, engine: Engine) -> None:
        """The scores come when all frames are done."""

    def complete(self) -> None:
        summary = json.loads((self.output_dir / "summary.json").read_text(encoding="utf-8"))
        self._log_params({key: str(value)[:500] for key, value in summary["run"].items()})
        scores = {**summary["frames_with_polyp"]["mean"], "specificity": summary["frames_without_polyp"]["specificity"]}
        self._log_metrics({key: value for key, value in scores.items() if value is not None})
        for name in ("report.html", "summary.json", "frames.csv"):
            self._keep(self.output_dir / name, "report")
