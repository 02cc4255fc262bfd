"""The files of a model repository, made from a job's artifacts."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ttm_client.models.jobs import Artifact

STUDENT, _TIMM, _CARD = "student.safetensors", "student-timm.zip", "MODEL_CARD.md"
_UNCHANGED = ("student.onnx", "student-fp16.onnx", "student-int8.onnx", "student.pt2")
# The names that timm, `hf:OWNER/REPO` and the Hub read.
_WEIGHTS, _CONFIG, _README = "model.safetensors", "config.json", "README.md"
_METADATA_KEY = "ttm"
_MAX_CONFIG_BYTES = 2**20


def needed(artifacts: Sequence[Artifact]) -> list[Artifact]:
    """The artifacts that a repository is made of."""
    names = {STUDENT, _TIMM, _CARD, *_UNCHANGED}
    return [artifact for artifact in artifacts if artifact.name in names]


def repository_files(folder: Path, repository: str) -> dict[str, Path]:
    """The files of the repository by name, from the downloaded artifacts in `folder`.

    `model.safetensors` is the student's file. `config.json` is timm's, or made from the student's metadata for models
    that timm does not have; a pruned student has none, because no configuration describes it.
    """
    files = {name: folder / name for name in _UNCHANGED if (folder / name).exists()}
    files[_WEIGHTS] = folder / STUDENT
    config = _timm_config(folder / _TIMM) if (folder / _TIMM).exists() else _made_config(folder / STUDENT)
    if config is not None:
        files[_CONFIG] = _written(folder / _CONFIG, config)
    if (folder / _CARD).exists():
        card = _card((folder / _CARD).read_text(encoding="utf-8"), repository)
        files[_README] = _written(folder / _README, card)
    return files


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def _timm_config(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(f"/{_CONFIG}")]
        with archive.open(name) as file:
            return file.read(_MAX_CONFIG_BYTES).decode()


def _made_config(path: Path) -> str | None:
    from huggingface_hub import parse_local_safetensors_file_metadata

    metadata: dict[str, Any] = json.loads(parse_local_safetensors_file_metadata(path).metadata[_METADATA_KEY])
    structure = metadata["structure"]
    if structure["pruning"]:
        return None
    size = structure["image_size"]
    config = {
        "architecture": structure["architecture"],
        "num_classes": structure["num_classes"],
        "label_names": metadata["class_names"],
        "pretrained_cfg": {"input_size": [structure["in_chans"], size, size], **metadata["normalization"]},
    }
    return json.dumps(config, indent=2)


def _card(text: str, repository: str) -> str:
    """The model card with the names that the files have in the repository."""
    replaced = {
        STUDENT: _WEIGHTS,
        f", after `unzip {_TIMM}`": "",
        f"local-dir:{_TIMM.removesuffix('.zip')}": f"hf-hub:{repository}",
    }
    for old, new in replaced.items():
        text = text.replace(old, new)
    return text
