"""`ttm study watch`."""

import time
from contextlib import ExitStack
from functools import partial
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ttm_client import Client
from ttm_client.cli.completion import study_ids
from ttm_client.cli.output import FAILED, JsonOption, UrlOption, messages, print_json, print_rows, service
from ttm_client.cli.studies.tables import best_accuracy, describe, percent
from ttm_client.cli.text import neutralized
from ttm_client.models.studies import Study, StudyCandidate
from ttm_client.protocol import RECONNECT_SECONDS
from ttm_client.references import is_id
from ttm_client.synchronous.polling import answer

StudyArgument = Annotated[
    str,
    typer.Argument(
        metavar="STUDY", help="The study's id, a unique prefix of it, or its name.", autocompletion=study_ids
    ),
]
_POLL_SECONDS = 2.0


def watch(study_id: StudyArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Follow a study until it ends. With --json, print one event per line.

    The exit code is 0 if the study succeeds and 1 if it fails or is cancelled.
    """
    with service(url) as client:
        follow(client, full_id(client, study_id), json=json)


def full_id(client: Client, reference: str) -> str:
    """The id of the study with this id, id prefix or name."""
    return reference if is_id(reference) else client.studies.get(reference).id


def follow(client: Client, study_id: str, *, json: bool) -> None:
    """Shows a study until it has ended. Exits with 1 unless it succeeds."""
    if json or not messages.is_interactive:
        for event in client.studies.events(study_id):
            if json:
                print_json(event)
            elif event.kind in ("state", "stage"):
                messages.print(
                    f"{event.at.astimezone():%H:%M:%S} {event.kind} {event.data[event.kind]}", highlight=False
                )
            elif event.kind == "rung":
                kept, tried = len(event.data["promoted"]), len(event.data["accuracies"])
                messages.print(
                    f"{event.at.astimezone():%H:%M:%S} rung {event.data['rung']}: {kept} of {tried} continue"
                )
    else:
        _live(client, study_id)
    study = client.studies.get(study_id)
    if not json:
        print_rows(("", ""), describe(study, client.studies.candidates(study_id)))
    if study.state != "succeeded":
        raise typer.Exit(FAILED)


def _live(client: Client, study_id: str) -> None:
    with ExitStack() as stack:
        live = stack.enter_context(Live(console=messages, transient=True))
        found = _polled(client, study_id)
        while True:
            live.update(_view(*found))
            if found[0].done:
                return
            time.sleep(_POLL_SECONDS)
            found = answer(partial(_polled, client, study_id), reconnect_timeout=RECONNECT_SECONDS, deadline=None)


def _polled(client: Client, study_id: str) -> tuple[Study, tuple[StudyCandidate, ...]]:
    return client.studies.get(study_id), client.studies.candidates(study_id)


def _view(study: Study, candidates: tuple[StudyCandidate, ...]) -> Group:
    """The state, and a row per candidate that is trained with a bar of its best validation accuracy so far."""
    head = Text(f"{study.state}, {study.stage}  {neutralized(study.blocked_reason or '')}")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("", "CANDIDATE", "STATE", "RUNG", "TOP-1", ""):
        table.add_column(column, no_wrap=True, overflow="ellipsis")
    for one in candidates:
        runs = [job for job in one.jobs if not job["baseline"]]
        if not runs:
            continue
        best = best_accuracy(one)
        state = "rejected" if one.rejected is not None else runs[0]["state"]
        table.add_row(
            str(one.number),
            escape(neutralized(one.label)),
            state,
            str(runs[0]["rung"]),
            percent(best),
            ProgressBar(total=1.0, completed=best or 0.0, width=20),
        )
    left = sum(one.rejected is None for one in candidates)
    return Group(head, Text(f"{left} of {len(candidates)} candidates left", style="dim"), table)
