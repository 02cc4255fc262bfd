"""`ttm secrets`: the encryption of secrets in the database. Runs on the service's machine, where the key file is."""

import os
from pathlib import Path
from typing import Annotated

import typer

from cli.admin.database import VarOption, open_database, record_change, secret_key_file
from ttm_client.cli.output import FAILED, JsonOption, console, fail, print_json

app = typer.Typer(help="Replace the key that encrypts secrets in the database.", no_args_is_help=True)
_VAR = Path("var")


@app.command()
def rotate(
    keep_file: Annotated[
        bool,
        typer.Option("--keep-file", help="Add no key: encrypt with the first key of the file."),
    ] = False,
    json: JsonOption = False,
    var: VarOption = _VAR,
) -> None:
    """Add a key to the key file and encrypt all stored secrets with it.

    The key file is TTM_SECRET_KEY_FILE, or VAR/secret.key, which is created if it does not exist. Running processes use
    the new key without a restart. The file keeps the previous key, which they may just have used.

    If other machines have copies of the file, add a new first line to all copies, then run this command with
    --keep-file.
    """
    from ttm_jobs.database.sealing import SecretKeyUnusable, add_key, drop_old_keys, read_keys
    from ttm_jobs.repositories.access import server_secrets

    path = secret_key_file(var)
    try:
        if not keep_file:
            path.parent.mkdir(parents=True, exist_ok=True)
            add_key(path)
        read_keys(path)
        with open_database(var, path) as session:
            count = server_secrets.reencrypt(session)
            record_change(session, "secrets_rotate", project="default", name=None)
        if not keep_file:
            drop_old_keys(path)
    except (SecretKeyUnusable, OSError, ValueError) as error:
        fail(str(error), FAILED)
    if json:
        print_json({"key_file": os.fspath(path), "secrets": count})
    else:
        console.print(f"{count} secrets are encrypted with the first key of {path}.", highlight=False)
