"""The tasks of a reader process. Each imports only what it needs."""

from pathlib import Path
from typing import Any


def run(task: str, arguments: dict[str, Any]) -> Any:
    """Runs a task and returns its answer, a JSON value."""
    match task:
        case "checkpoint":
            from ttm_core.reader.pickles.torch_file import convert

            return convert(Path(arguments["source"]), Path(arguments["target"]))
        case "safetensors":
            from ttm_core.reader.checkpoints.safetensors_file import check

            return check(Path(arguments["source"]))
        case "inspect":
            from ttm_core.checkpoints.schema import InspectionRequest
            from ttm_core.reader.checkpoints.inspection import inspect

            request = InspectionRequest.model_validate(arguments["request"])
            found = inspect(Path(arguments["source"]), request, numbers=arguments["numbers"])
            return found.model_dump(mode="json")
        case "onnx":
            from ttm_core.reader.checkpoints.onnx_file import describe

            source, size = Path(arguments["source"]), arguments["image_size"]
            return describe(source, run=True, image_size=size).model_dump(mode="json")
        case "predict":
            from ttm_core.reader.prediction import predict

            return predict(Path(arguments["source"]), arguments["files"]).model_dump(mode="json")
        case "archive":
            from ttm_core.data.archives.unpack import unpack

            return unpack(Path(arguments["source"]), Path(arguments["target"]))
        case "parquet":
            from ttm_core.reader.datasets.parquet_file import pack

            files = {split: [Path(path) for path in paths] for split, paths in arguments["files"].items()}
            return pack(files, Path(arguments["target"]))
        case "image_headers":
            from ttm_core.reader.datasets.image_headers import write_records

            files_to_read = [Path(path) for path in arguments["files"]]
            return write_records(Path(arguments["target"]), files_to_read, arguments["ranges"])
        case "shards":
            from ttm_core.reader.datasets.shards import write_index

            splits = {split: [Path(path) for path in paths] for split, paths in arguments["splits"].items()}
            return write_index(splits, Path(arguments["target"]))
        case "first_files":
            from ttm_core.reader.datasets.shards import first_files

            return first_files(Path(arguments["source"]))
        case "idx":
            from ttm_core.reader.datasets.idx_file import convert as convert_idx

            return convert_idx([Path(path) for path in arguments["files"]], Path(arguments["target"]))
        case "cifar":
            from ttm_core.reader.pickles.cifar_pickle import convert as convert_cifar

            return convert_cifar([Path(path) for path in arguments["files"]], Path(arguments["target"]))
        case "cifar_names":
            from ttm_core.reader.pickles.cifar_pickle import class_names

            return class_names(Path(arguments["source"]))
        case _:
            raise ValueError(f"unknown task {task}")
