"""Tables on narrow terminals, help texts with brackets, and watching a study while the service restarts."""

import io
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.stack.stack import Stack
from tests.cli.conftest import Ttm
from ttm_client import Client, ConnectionFailed
from ttm_client.cli import output
from ttm_client.cli.main import app
from ttm_client.cli.studies import watch
from ttm_client.cli.text import SafeConsole

ID = "01a22ea3-9db3-7413-a54c-12b873d32547"


@pytest.fixture(params=[60, 80, 200])
def terminal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    written = io.StringIO()
    console = SafeConsole(file=written, force_terminal=True, color_system=None, width=request.param)
    monkeypatch.setattr(output, "console", console)
    return written


def test_ids_are_not_broken(terminal: io.StringIO) -> None:
    rows = [
        ("study", ID),
        ("against mini/resnet8_050", "-2.40 points (-4.80 to -0.00 points; paired bootstrap)"),
        ("", ""),
    ]
    output.print_rows(("", ""), rows)
    assert ID in terminal.getvalue()
    output.print_rows(
        ("", ""), [("artifact", f"report.json  12 bytes  sha256 {'0' * 40}"), ("change vs teacher", "-1")]
    )
    assert "0" * 40 in terminal.getvalue()


def test_words_that_fit_nowhere_are_folded(terminal: io.StringIO) -> None:
    output.print_rows(("", ""), [("name", "x" * 300)])
    assert terminal.getvalue().count("x") == 300


def test_a_failed_handshake_names_the_scheme_and_the_certificate(stack: Stack, ttm: Ttm) -> None:
    ended = ttm("jobs", url=stack.url.replace("http:", "https:"))
    assert ended.returncode == 3
    assert "Check http:// or https:// in the URL, and the certificate" in ended.stderr
    assert "ttm up" not in ended.stderr


@pytest.mark.parametrize(("command", "extra"), [("bench", "bench"), ("push", "hub")])
def test_help_names_the_extra_to_install(command: str, extra: str) -> None:
    assert f"ttm-client[{extra}]" in CliRunner().invoke(app, [command, "--help"]).stdout


def test_a_study_on_a_terminal_is_watched_across_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    polls: list[int] = []

    class Study:
        state, stage, blocked_reason = "running", "finals", None

        @property
        def done(self) -> bool:
            return len(polls) > 3

    def poll(*_: object) -> Any:
        polls.append(len(polls))
        if len(polls) == 2:
            raise ConnectionFailed("the service restarts")
        return Study(), ()

    monkeypatch.setattr(watch, "_polled", poll)
    monkeypatch.setattr(watch, "_POLL_SECONDS", 0.0)
    monkeypatch.setattr("ttm_client.synchronous.polling._PAUSE_SECONDS", 0.0)
    with Client() as client:
        watch._live(client, ID)
    assert len(polls) == 4
