"""`ttm inspect`."""

from pathlib import Path
from typing import Annotated

import typer

from ttm_client.cli.output import (
    JsonOption,
    UrlOption,
    console,
    count,
    messages,
    print_json,
    print_rows,
    service,
    transfer,
)
from ttm_client.models.jobs import Candidate, Inspection, OnnxClassifier


def inspect(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Checkpoint: a local file or upload:ID.")],
    architecture: Annotated[str | None, typer.Option(help="Architecture to compare the file with.")] = None,
    checkpoint_key: Annotated[
        str | None, typer.Option(help="The model to describe in a checkpoint that has several, such as `teacher`.")
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(min=1, help="Side in pixels of the images on which an ONNX file of any size runs once."),
    ] = None,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Show what a checkpoint is and which architectures it fits. Uploads a local file, once."""
    with service(url) as client:
        uri = file
        if not file.startswith("upload:"):
            path = Path(file)
            if not path.is_file():
                raise typer.BadParameter(f"There is no file {file}.", param_hint="FILE")
            with transfer(f"uploading {path.name}", quiet=json) as progress:
                uri = client.uploads.ensure(path, progress).uri
        found = client.uploads.inspect(
            uri,
            architecture=architecture,
            checkpoint_key=checkpoint_key,
            image_size=image_size,
        )
    if json:
        print_json(found)
        raise typer.Exit(1 if found.problem else 0)
    _print(found, uri, sized=image_size is not None)
    if found.problem:
        raise typer.Exit(1)


def _print(found: Inspection, uri: str, *, sized: bool) -> None:
    console.print(uri, highlight=False)
    if found.problem:
        messages.print(found.problem, highlight=False, markup=False)
        return
    size = f", {count(found.tensors)} tensors, {count(found.parameters)} parameters" if found.tensors else ""
    console.print(f"{found.kind}{size}", highlight=False)
    if found.checkpoint_keys:
        first, *others = found.checkpoint_keys
        console.print(f"checkpoint_key {first}; also {', '.join(others)}", highlight=False, markup=False)
    if found.onnx is not None:
        _print_onnx(found.onnx, sized=sized)
        return
    if found.pruned:
        print_rows(("", ""), [("pruned", f"student of {found.architecture}; its metadata describes it")])
        return
    if not found.candidates:
        console.print("No architecture has similar tensors.")
        return
    rows = [
        (candidate.architecture, f"{candidate.score:.1%}", str(candidate.num_classes or ""), _verdict(candidate))
        for candidate in found.candidates
    ]
    print_rows(("ARCHITECTURE", "MATCH", "CLASSES", "RESULT"), rows, whole=("ARCHITECTURE",), wrapped=("RESULT",))
    key_map = found.candidates[0].key_map
    if key_map is not None:
        console.print("key_map:")
        for old, new in key_map.items():
            console.print(f"  {old!r}: {new!r}", highlight=False, markup=False)


def _print_onnx(found: OnnxClassifier, *, sized: bool) -> None:
    side = found.image_size or "any"
    batch = f"batches of {found.batch}" if found.batch else "any batch"
    scores = "probabilities" if found.probabilities else "logits"
    pixels = {"unit": "in [0, 1]", "bytes": "in [0, 255]", None: "not normalized: set teacher.normalization"}
    has_size = sized or found.image_size is not None
    not_run = "no: the service has no ONNX Runtime" if has_size else "no; --image-size sets the size"
    rows = [
        ("parameters", count(found.parameters)),
        ("input", f"{found.input}: {found.dtype}, {found.layout}, {batch}, {found.channels} x {side} x {side}"),
        ("output", f"{found.output}: {scores} of {found.num_classes or 'an unknown number of'} classes"),
        ("pixels", pixels.get(found.pixels, found.pixels or "")),
        ("run", f"once at {found.run_size} pixels" if found.run_size else not_run),
    ]
    print_rows(("", ""), rows)


def _verdict(candidate: Candidate) -> str:
    if candidate.loads:
        return "loads with key_map" if candidate.key_map else "loads"
    parts = (
        (candidate.missing_count, "missing"),
        (candidate.unexpected_count, "unexpected"),
        (candidate.mismatched_count, "of another shape"),
    )
    return ", ".join(f"{number} {what}" for number, what in parts if number)
