"""`ttm after-restore`: the last step of a restore of the database. Runs on the service's machine."""

from pathlib import Path

from cli.admin.database import VarOption, open_database, record_change
from ttm_client.cli.output import JsonOption, console, print_json


def after_restore(json: JsonOption = False, var: VarOption = Path("var")) -> None:
    """Prepare a restored database: migrate it, and queue the jobs that ran during the dump.

    Run it after the restore, before dispatcher, API and workers start. The jobs resume from their last checkpoint, and
    their interrupted attempts do not count.
    """
    with open_database(var) as session:
        from ttm_jobs.repositories.jobs import leases

        count = leases.release_all(session, reason="restored")
        record_change(session, "after_restore", project="default", name=None)
    if json:
        print_json({"jobs": count})
    else:
        console.print(f"{count} interrupted jobs resume when the service starts.", highlight=False)
