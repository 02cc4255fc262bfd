"""Writes `catalogue.json` and `signatures.jsonl.xz`: `python -m ttm_core.models.build_catalogue`.

Models are built and run on the meta device, which computes shapes only. Rows are appended to `*.partial` files, from
which an interrupted run resumes.
"""

import json
import lzma
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg
from torch import nn

from ttm_core.checkpoints.signatures import SIGNATURES, Signature, encode
from ttm_core.models import CIFAR, MINI, TORCHVISION, timm_name
from ttm_core.models.installed.describe import describe_model, on_meta
from ttm_core.models.teachers.adapt import signature_of
from ttm_core.spec import catalogue
from ttm_core.spec.catalogue import Architecture

CATALOGUE = Path(catalogue.__file__).with_suffix(".json")
SECONDS_PER_MODEL = 120
_CLASSES = 1000  # of models that have none by default
_TAG_FIELDS = ("input_size", "mean", "std", "num_classes", "interpolation", "crop_pct")


def names() -> list[str]:
    """Every name in the catalogue in order: the project's models, then timm's, then torchvision's."""
    own = [*(f"cifar/{name}" for name in CIFAR), *(f"mini/{name}" for name in MINI)]
    others = [f"torchvision/{name}" for name in TORCHVISION]
    registered = {timm_name(name) for name in (*own, *others)}
    return [*own, *(name for name in timm.list_models() if name not in registered), *others]


def describe(name: str) -> tuple[Architecture, Signature, str | None]:
    """The row of one model, its tensors, and the reason if its multiply-accumulates cannot be counted."""
    row, model, reason = describe_model(name)
    return replace(row, tags=tags(timm_name(name))), _signature(name, model), reason


def _signature(name: str, model: nn.Module) -> Signature:
    """The tensors of a model with a classifier. timm builds backbones that were trained without labels without one."""
    signature = signature_of(model, name)
    if signature.classifier is None or f"{signature.classifier}.weight" in signature.shapes:
        return signature
    return signature_of(on_meta(timm_name(name), num_classes=_CLASSES), name)


def tags(registered: str) -> dict[str, dict[str, Any]]:
    """The tags of a model's timm weights, each with the fields that differ from the model without a tag."""
    plain = get_pretrained_cfg(registered, allow_unregistered=False)
    found = {}
    for name in timm.list_models(registered, include_tags=True):
        configuration = get_pretrained_cfg(name, allow_unregistered=False)
        fields = ((field, getattr(configuration, field), getattr(plain, field)) for field in _TAG_FIELDS)
        found[name.partition(".")[2]] = {field: value for field, value, default in fields if value != default}
    found.pop("", None)  # a model without published weights
    return found


def main() -> None:
    torch.set_num_threads(1)
    rows, signatures = _Partial(CATALOGUE.with_suffix(".json.partial")), _Partial(SIGNATURES.with_suffix(".partial"))
    reasons: Counter[str] = Counter()
    for name in names():
        if name in rows.lines and name in signatures.lines:
            continue
        with time_limit(SECONDS_PER_MODEL):
            row, signature, reason = describe(name)
        rows.append(name, _line(row))
        signatures.append(name, encode(signature))
        if reason is not None:
            reasons[reason] += 1
            print(f"{name}: {reason}")
    CATALOGUE.write_text("[\n" + ",\n".join(rows.lines[name] for name in names()) + "\n]\n", encoding="utf-8")
    document = "".join(f"{signatures.lines[name]}\n" for name in names()).encode()
    SIGNATURES.write_bytes(lzma.compress(document, preset=9 | lzma.PRESET_EXTREME))
    rows.path.unlink()
    signatures.path.unlink()
    print(f"{len(rows.lines)} architectures; could not count the operations of {reasons.total()}: {dict(reasons)}")


class _Partial:
    """Lines of JSON by the architecture that they describe, in a file from which an interrupted run resumes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[str, str] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            row = json.loads(line)
            self.lines[row["name"] if isinstance(row, dict) else row[0]] = line

    def append(self, name: str, line: str) -> None:
        self.lines[name] = line
        with self.path.open("a", encoding="utf-8") as stream:
            print(line, file=stream)


def _line(row: Architecture) -> str:
    fields = asdict(row)
    del fields["origin"]
    if not row.tags:
        del fields["tags"]
    if row.min_size == catalogue.SMALLEST_IMAGE:
        del fields["min_size"]
    return json.dumps(fields, separators=(",", ":"))


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raises TimeoutError in the block after a number of seconds."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    main()
