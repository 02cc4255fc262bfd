"""What applies to every command: standard streams, and errors of the operating system."""

import sys
from contextlib import suppress
from typing import Any

from typer.core import TyperGroup

from ttm_client.cli.output import FAILED, print_error
from ttm_client.cli.streams import discard_output, prepare_streams


class Commands(TyperGroup):
    """The commands of `ttm`. An OSError, such as a full disk or a folder without write permission, ends the command
    with a message.
    """

    def main(self, *args: Any, **options: Any) -> Any:
        prepare_streams()
        try:
            try:
                return super().main(*args, **options)
            finally:
                # Here and not at the end of the interpreter, which reports an error as a traceback.
                sys.stdout.flush()
        except OSError as error:
            discard_output()
            # The reader of a pipe, such as `head`, ends when it has enough.
            if not isinstance(error, BrokenPipeError):
                with suppress(OSError):
                    print_error(_message(error))
            sys.exit(FAILED)


def _message(error: OSError) -> str:
    if error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
