"""A second host, simulated by a network namespace that is connected by a virtual cable."""

import os
import shutil
import subprocess
from types import TracebackType
from typing import Self


class NoNamespaces(Exception):
    """The system does not allow this process to create network namespaces."""


class SecondHost:
    """A network namespace. `near` is this host's address on the cable. Names include the process id to avoid conflicts."""

    def __init__(self) -> None:
        number = os.getpid() % 16_000
        self._name = f"ttm{number}"
        self._cable = f"ttm{number}a"
        # 198.18.0.0/15 is reserved for benchmarks between networks (RFC 2544).
        subnet = f"198.{18 + number // 8000}.{number % 8000 // 64}.{number % 64 * 4}"
        base = subnet.rpartition(".")[0], int(subnet.rpartition(".")[2])
        self.near, self._far = f"{base[0]}.{base[1] + 1}", f"{base[0]}.{base[1] + 2}"

    @property
    def prefix(self) -> list[str]:
        """The command prefix that runs a command on the second host."""
        return ["ip", "netns", "exec", self._name]

    def cut(self) -> None:
        """Cuts the network. Connected peers receive nothing, not even a connection reset."""
        _ip("link", "set", self._cable, "down")

    def join(self) -> None:
        _ip("link", "set", self._cable, "up")

    def __enter__(self) -> Self:
        if shutil.which("ip") is None:
            raise NoNamespaces("`ip` is not installed")
        try:
            _ip("netns", "add", self._name)
            _ip("link", "add", self._cable, "type", "veth", "peer", "name", "far", "netns", self._name)
            _ip("addr", "add", f"{self.near}/30", "dev", self._cable)
            _ip("link", "set", self._cable, "up")
            for words in (["addr", "add", f"{self._far}/30", "dev", "far"], ["link", "set", "far", "up"]):
                _ip("-n", self._name, *words)
            _ip("-n", self._name, "link", "set", "lo", "up")
        except NoNamespaces:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Deleting the namespace also deletes both ends of the cable.
        subprocess.run(["ip", "netns", "del", self._name], capture_output=True, check=False)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoNamespaces(f"ip {' '.join(words)}: {done.stderr.strip()}")
