"""Writes `ttm_core/catalogue.json`: `python -m ttm_core.models.build_catalogue`.

Models are built and run on the meta device, which computes shapes only. Rows are appended to `catalogue.json.partial`,
from which an interrupted run resumes.
"""

import json
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg

from ttm_core.models import CIFAR, MINI, timm_name
from ttm_core.models.macs import count_macs, countable_attention
from ttm_core.spec import catalogue
from ttm_core.spec.catalogue import Architecture

CATALOGUE = Path(catalogue.__file__).with_suffix(".json")
SECONDS_PER_MODEL = 120
_TAG_FIELDS = ("input_size", "mean", "std", "num_classes", "interpolation", "crop_pct")


def names() -> list[str]:
    """Every name in the catalogue in order: the project's models, then timm's."""
    own = [*(f"cifar/{name}" for name in CIFAR), *(f"mini/{name}" for name in MINI)]
    registered = {timm_name(name) for name in own}
    return [*own, *(name for name in timm.list_models() if name not in registered)]


def describe(name: str) -> tuple[Architecture, str | None]:
    """The row of one model, and the reason if its multiply-accumulates cannot be counted."""
    registered = timm_name(name)
    configuration = get_pretrained_cfg(registered, allow_unregistered=False)
    assert configuration is not None
    macs, reason = None, None
    with countable_attention():
        with torch.device("meta"):
            model = timm.create_model(registered, pretrained=False).eval()
        try:
            macs = count_macs(model, configuration.input_size)
        except Exception as error:  # timm models raise exceptions of any type on the meta device
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
    row = Architecture(
        name=name,
        family=type(model).__module__.rpartition(".")[2],
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        macs=macs,
        input_size=configuration.input_size,
        mean=configuration.mean,
        std=configuration.std,
        num_classes=configuration.num_classes,
        pretrained=timm.is_model_pretrained(registered),
        interpolation=configuration.interpolation,
        crop_pct=configuration.crop_pct,
        tags=tags(registered),
    )
    return row, reason


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
    partial = CATALOGUE.with_suffix(".json.partial")
    lines = {json.loads(line)["name"]: line for line in partial.read_text().splitlines()} if partial.exists() else {}
    reasons: Counter[str] = Counter()
    with partial.open("a", encoding="utf-8") as progress:
        for name in names():
            if name in lines:
                continue
            with _time_limit(SECONDS_PER_MODEL):
                row, reason = describe(name)
            lines[name] = _line(row)
            print(lines[name], file=progress, flush=True)
            if reason is not None:
                reasons[reason] += 1
                print(f"{name}: {reason}")
    CATALOGUE.write_text("[\n" + ",\n".join(lines[name] for name in names()) + "\n]\n", encoding="utf-8")
    partial.unlink()
    print(f"{len(lines)} architectures; could not count multiply-accumulates of {reasons.total()}: {dict(reasons)}")


def _line(row: Architecture) -> str:
    fields = asdict(row)
    if not row.tags:
        del fields["tags"]
    return json.dumps(fields, separators=(",", ":"))


@contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
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
