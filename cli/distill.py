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
    with_file_uris,
)

_STOPPED = 3  # exit code of the engine: stopped with a checkpoint


def distill(
    out: Annotated[Path, typer.Option("--out", "-o", help="Work directory. Resumes an interrupted run in it.")],
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
    stores: Annotated[Path | None, typer.Option(help="Folder for teacher stores, which other runs can reuse.")] = None,
    json: JsonOption = False,
) -> None:
    """Distill on this machine, without a server. Writes the student to OUT/out/student.safetensors."""
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
    spec_path = out / "spec.yaml"
    spec_path.write_text(yaml.safe_dump(with_file_uris(spec), sort_keys=False), encoding="utf-8")
    command = [sys.executable, "-m", "ttm_core", "distill", str(spec_path), "--out", str(out)]
    if stores is not None:
        command += ["--stores", str(stores)]
    engine = subprocess.Popen(command)
    while True:
        try:
            code = engine.wait()
            break
        except KeyboardInterrupt:
            continue  # the engine received SIGINT as well and saves a checkpoint
    if code == _STOPPED:
        typer.echo("Stopped with a checkpoint. Run the same command again to resume.", err=True)
    if json:
        state = {0: "succeeded", _STOPPED: "stopped"}.get(code, "failed")
        made = out / "out" / "student.safetensors" if code == 0 else None
        print_json({"state": state, "student": made, "out": out})
    raise typer.Exit({0: 0, USAGE: USAGE}.get(code, FAILED))
