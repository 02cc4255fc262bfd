"""`ttm distill`."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
import yaml

from ttm_client.cli.output import FAILED, USAGE, JsonOption, print_json
from ttm_client.cli.specs import (
    BatchSizeOption,
    DatasetOption,
    EpochsOption,
    MethodOption,
    NameOption,
    RecipeOption,
    SeedOption,
    SetOption,
    SpecFile,
    StudentOption,
    TeacherOption,
    assemble,
    with_local_addresses,
)

_STOPPED = 3  # of the engine's process: stopped with a checkpoint


def distill(
    out: Annotated[Path, typer.Option("--out", "-o", help="Work directory; an interrupted run in it goes on.")],
    spec_file: SpecFile = None,
    recipe: RecipeOption = None,
    teacher: TeacherOption = None,
    student: StudentOption = None,
    dataset: DatasetOption = None,
    name: NameOption = None,
    method: MethodOption = None,
    epochs: EpochsOption = None,
    batch_size: BatchSizeOption = None,
    seed: SeedOption = None,
    set_: SetOption = None,
    stores: Annotated[Path | None, typer.Option(help="Folder where teachers' logits are kept for other runs.")] = None,
    json: JsonOption = False,
) -> None:
    """Distil here and now, without a server. The student comes to OUT/out/student.safetensors."""
    spec = assemble(
        spec_file,
        recipe=recipe,
        teacher=teacher,
        student=student,
        dataset=dataset,
        name=name,
        method=method,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        assignments=set_ or (),
    )
    out.mkdir(parents=True, exist_ok=True)
    told = out / "spec.yaml"
    told.write_text(yaml.safe_dump(with_local_addresses(spec), sort_keys=False), encoding="utf-8")
    command = [sys.executable, "-m", "ttm_core", "distill", str(told), "--out", str(out)]
    if stores is not None:
        command += ["--stores", str(stores)]
    engine = subprocess.Popen(command)
    while True:
        try:
            code = engine.wait()
            break
        except KeyboardInterrupt:
            continue  # the terminal told the engine, too: it saves a checkpoint and leaves
    if code == _STOPPED:
        typer.echo("Stopped with a checkpoint; the same command goes on from it.", err=True)
    if json:
        state = {0: "succeeded", _STOPPED: "stopped"}.get(code, "failed")
        made = out / "out" / "student.safetensors" if code == 0 else None
        print_json({"state": state, "student": made, "out": out})
    raise typer.Exit({0: 0, USAGE: USAGE}.get(code, FAILED))
