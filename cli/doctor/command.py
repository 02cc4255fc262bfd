"""`ttm doctor`."""

import sys
from json import dumps
from typing import Annotated

import typer

from cli.doctor.checks import Status, local_checks, service_check
from cli.doctor.isolation import isolation_check
from cli.doctor.production import production_checks
from ttm_client.cli.output import FAILED, JsonOption, UrlOption, console, print_rows

_SHAPES = {Status.OK: "✓ ok", Status.WARNING: "! warning", Status.FAILED: "✕ failed"}


def doctor(
    production: Annotated[
        bool, typer.Option("--production", help="Also check what a production deployment needs.")
    ] = False,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Check versions, devices, database, broker, storage and the service, and print advice.

    Reads the same TTM_* settings as the service. The exit code is 1 if a check failed.
    """
    checks = [*local_checks(), isolation_check(), service_check(url), *(production_checks() if production else ())]
    if json:
        sys.stdout.write(dumps([check.as_json() for check in checks]) + "\n")
    else:
        print_rows(
            ("CHECK", "", "FOUND"),
            [(check.name, _SHAPES[check.status], check.found) for check in checks],
            wrapped=("FOUND",),
        )
        for check in checks:
            if check.advice:
                console.print(f"{check.name}: {check.advice}", highlight=False, markup=False)
    if any(check.status is Status.FAILED for check in checks):
        raise typer.Exit(FAILED)
