"""`ttm bench`."""

import re
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from ttm_client import Artifact, Client
from ttm_client.cli.bench.agent import Agent
from ttm_client.cli.bench.measuring import measure_files, print_measurements, require_ttm_measure
from ttm_client.cli.completion import job_ids
from ttm_client.cli.jobs.show import full_id
from ttm_client.cli.output import (
    FAILED,
    NOT_FOUND,
    JsonOption,
    UrlOption,
    console,
    fail,
    messages,
    print_json,
    service,
    transfer,
)
from ttm_client.cli.text import neutralized

# The teacher's file is for predictions and is not shipped.
_SUFFIX, _TEACHER = ".onnx", "teacher.onnx"
# The service's pattern of device names.
_DEVICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def bench(
    job_id: Annotated[
        str | None,
        typer.Argument(
            metavar="JOB",
            help="The job's id, a unique prefix of it, or its name. A key with scope measure needs the id.",
            autocompletion=job_ids,
        ),
    ] = None,
    device_name: Annotated[
        str, typer.Option("--device-name", help="Name of this machine: letters, digits, dots, hyphens, underscores.")
    ] = "",
    agent: Annotated[
        bool, typer.Option("--agent", help="Keep running and measure what the service requests for this device.")
    ] = False,
    post: Annotated[bool, typer.Option(help="Post the measurements to the service.")] = True,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=600, help="Longest measuring time per file, batch size and number of threads.")
    ] = 5.0,
    poll_seconds: Annotated[
        float, typer.Option(min=0.1, max=600, help="Time between an agent's requests for work.")
    ] = 5.0,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    r"""Measure a job's ONNX files on this machine: latency, throughput and memory in ONNX Runtime.

    Needs `pip install "ttm-client\[bench]"` and an API key with scope measure. Downloads the files, measures float32
    and int8 in alternating blocks at batch 1 and 32 with one thread and with all cores, prints a table, and posts the
    measurements. Runs nothing but ONNX files.
    """
    if agent == (job_id is not None):
        raise typer.BadParameter("Give a JOB or --agent, not both.")
    if (agent or post) and _DEVICE_NAME.fullmatch(device_name) is None:
        raise typer.BadParameter("Name this machine with --device-name, for example pi5.", param_hint="--device-name")
    require_ttm_measure()
    with service(url) as client:
        if job_id is None:
            _report(f"measuring for {device_name}; stop with Ctrl-C")
            Agent(client, device_name, seconds=seconds, poll_seconds=poll_seconds, report=_report).run()
        else:
            _measure_job(client, full_id(client, job_id), device_name, post=post, seconds=seconds, json=json)


def _measure_job(client: Client, job_id: str, device: str, *, post: bool, seconds: float, json: bool) -> None:
    artifacts = client.jobs.artifacts(job_id)
    files = [each for each in artifacts if each.name.endswith(_SUFFIX) and each.name != _TEACHER]
    if not files:
        fail("The job has no ONNX artifacts: it must succeed, with `onnx` in its exports.", NOT_FOUND)
    with tempfile.TemporaryDirectory() as folder:
        paths = {file.name: _download(client, job_id, file, Path(folder), quiet=json) for file in files}
        found = measure_files(paths, seconds=seconds, warn=_report)
    if not found:
        fail("Nothing was measured.", FAILED)
    if not json:
        print_measurements(found)
    if post:
        for name, measured in found:
            values = measured.model_dump(mode="json")
            client.measurements.create(job_id, artifact=name, device=device, values=values)
    advice = [each for each in client.measurements.list(job_id).recommendations if each.device == device]
    if json:
        items = [{"artifact": name, **measured.model_dump(mode="json")} for name, measured in found]
        print_json({"items": items, "recommendations": advice})
    elif advice:
        console.print(escape(neutralized(advice[0].reason)), highlight=False)


def _report(text: str) -> None:
    messages.print(escape(neutralized(text)), highlight=False)


def _download(client: Client, job_id: str, file: Artifact, folder: Path, *, quiet: bool) -> Path:
    with transfer(file.name, quiet=quiet) as progress:
        return client.jobs.download_artifact(job_id, file, folder / file.name, progress)
