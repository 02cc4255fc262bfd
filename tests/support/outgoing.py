"""Records the network addresses that Python processes and their Python children use.

A `sitecustomize` module on PYTHONPATH installs an audit hook. Connections that C libraries open do not reach it.
"""

import ipaddress
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

_HOOK = """\
import json, os, sys

_log = os.open({log!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _write(record):
    os.write(_log, (json.dumps(record) + "\\n").encode())


def _record(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        if arguments[0].family in ({inet}, {inet6}) and address is not None:
            _write({{"event": event, "host": str(address[0])}})
    elif event in ("socket.getaddrinfo", "socket.gethostbyname") and arguments[0] is not None:
        host = arguments[0]
        _write({{"event": event, "host": host.decode() if isinstance(host, bytes) else str(host)}})


_write({{"event": "start", "command": sys.orig_argv}})
sys.addaudithook(_record)
"""


@dataclass(frozen=True)
class Recording:
    """The commands that ran under the hook, and the hosts that they named or connected to."""

    commands: list[list[str]]
    hosts: set[str]

    @property
    def modules(self) -> set[str]:
        """The modules that ran with `python -m`."""
        return {command[command.index("-m") + 1] for command in self.commands if "-m" in command}

    @property
    def remote_hosts(self) -> set[str]:
        """The hosts that are not this machine's loopback interface."""
        return {host for host in self.hosts if not _is_loopback(host)}


class OutgoingConnections:
    """The recording of the processes that run with `environment`. `folder` must be writable for all of them."""

    def __init__(self, module_folder: Path, folder: Path) -> None:
        module_folder.mkdir(parents=True)
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "outgoing.jsonl"
        hook = _HOOK.format(log=str(self._log), inet=int(socket.AF_INET), inet6=int(socket.AF_INET6))
        (module_folder / "sitecustomize.py").write_text(hook)
        self.environment = {**os.environ, "PYTHONPATH": str(module_folder)}

    def recorded(self) -> Recording:
        records = [json.loads(line) for line in self._log.read_text().splitlines()]
        return Recording(
            [record["command"] for record in records if record["event"] == "start"],
            {record["host"] for record in records if record["event"] != "start"},
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host in ("", "localhost")
