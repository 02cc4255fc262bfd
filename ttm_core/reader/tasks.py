"""The tasks of a reader process. Each imports only what it needs."""

from pathlib import Path
from typing import Any


def run(task: str, arguments: dict[str, Any]) -> Any:
    """Runs a task and returns its answer, a JSON value."""
    match task:
        case "checkpoint":
            from ttm_core.reader.torch_file import convert

            return convert(Path(arguments["source"]), Path(arguments["target"]))
        case "safetensors":
            from ttm_core.reader.safetensors_file import check

            return check(Path(arguments["source"]))
        case _:
            raise ValueError(f"unknown task {task}")
