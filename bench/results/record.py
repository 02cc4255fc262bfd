"""The recorded results of an experiment: one JSON file, written after every run."""

import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

Run = dict[str, Any]


@dataclass
class Record:
    """Runs with what is needed to reproduce them: command, CPU, PyTorch's version and dates."""

    path: Path
    content: dict[str, Any]

    @classmethod
    def open(cls, path: Path, **fields: Any) -> "Record":
        """The record at `path`, or a new one. `fields` replace stored ones."""
        stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        about = {"cpu": cpu_name(), "threads": 1, "torch": torch.__version__}
        return cls(path, {"runs": [], "started": _today(), **about, **stored, **fields})

    @property
    def runs(self) -> list[Run]:
        runs: list[Run] = self.content["runs"]
        return runs

    def find(self, variant: str, key: str) -> Run | None:
        """The finished run of a variant with this hash of its spec."""
        return next((run for run in self.runs if run["variant"] == variant and run["spec_sha256"] == key), None)

    def measured(self, key: str) -> Run | None:
        """What was measured in a run with this hash of its spec, in any record of the folder."""
        for path in sorted(self.path.parent.glob("*.json")):
            for run in json.loads(path.read_text(encoding="utf-8")).get("runs", []):
                if run.get("spec_sha256") == key:
                    return {name: value for name, value in run.items() if name not in ("variant", "values", "seed")}
        return None

    def add(self, run: Mapping[str, Any]) -> None:
        """Adds a run and writes the file."""
        self.runs.append(dict(run))
        self.save()

    def save(self) -> None:
        """Writes the file with the date of today."""
        self.content["updated"] = _today()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Renamed into place: other experiments read the file meanwhile.
        written = self.path.with_suffix(".tmp")
        written.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")
        written.replace(self.path)


def cpu_name() -> str:
    """The processor's name, as the kernel reports it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if sys.platform == "linux" else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
