"""Ctrl-C while `ttm` starts."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ENVIRONMENT

LAUNCHER = Path(__file__).parents[2] / "packaging/client"
# Sends the signal at a certain import, as a user would at a certain moment.
INTERRUPT = """
import os, signal, sys

module, launcher, before = sys.argv[1:]

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
sys.path.insert(0, launcher)
from ttm_command import main
# A test run in the background of a shell ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)
exec(before)
sys.argv[1:] = ["--version"]
main()
"""


def interrupted(module: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """Runs `ttm --version`, which is interrupted when it imports `module`, after the statement `before`."""
    return subprocess.run(
        [sys.executable, "-c", INTERRUPT, module, str(LAUNCHER), before],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("module", ["ttm_client", "ttm_client.models.jobs", "typer", "cli.main"])
def test_interrupt_during_the_import_ends_the_command_without_a_message(module: str) -> None:
    ended = interrupted(module)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_ignored_interrupt_stays_ignored() -> None:
    """As in a background job of a shell."""
    ended = interrupted("typer", "signal.signal(signal.SIGINT, signal.SIG_IGN)")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("ttm ")
