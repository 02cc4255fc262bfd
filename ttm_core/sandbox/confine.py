"""Drops rights, then executes a command: `python confine.py RULES COMMAND...`.

RULES is JSON: `list`, `read` and `write`, paths that may be listed, also read, or also written; `network`, whether
other hosts may be reached; `file_bytes`, the maximum size of written files; `parent`, a process id: the command is
killed when that process ends (default: the parent of this process). A restriction that the system does not support is
skipped with a line on standard error. Imports only the standard library, because it runs before every trainer.

A reader process calls `confine_this` instead, before it reads any input.
"""

import ctypes
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import stat
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple

_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_LAST_CAPABILITY = 63
_CAPABILITY_VERSION = 0x20080522

# These syscall numbers are the same on every architecture.
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _READ_FILE, _READ_DIR, _MAKE_BLOCK_DEVICE, _REFER = 1, 1 << 2, 1 << 3, 1 << 11, 1 << 13
_READING = _EXECUTE | _READ_FILE | _READ_DIR
# File access rights by Landlock version.
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_ALL = _RIGHTS[max(_RIGHTS)]
# Rights that apply to files: execute, write, read, truncate, ioctl.
_OF_FILES = 1 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15
_SCOPE_SOCKETS_AND_SIGNALS, _SCOPES_SINCE = 3, 6

_libc = ctypes.CDLL(None, use_errno=True)


class Paths(NamedTuple):
    """Paths that may be listed, also read, or also written."""

    list: Iterable[str]
    read: Iterable[str]
    write: Iterable[str]


def main() -> None:
    rules, command = json.loads(sys.argv[1]), sys.argv[2:]
    parent = rules.get("parent", os.getppid())
    missing = [
        # A user namespace removes root's rights over other users' files.
        _missing("network and user namespaces", lambda: _unshare(loopback=not rules["network"])),
        _missing("limits", lambda: _limit(rules["file_bytes"])),
        *_confine_files(Paths(rules["list"], rules["read"], rules["write"])),
    ]
    for line in filter(None, missing):
        print(f"sandbox: without {line}", file=sys.stderr)
    # A change of credentials resets it.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)
    os.execvp(command[0], command)


def confine_this(paths: Paths) -> list[str]:
    """Drops the rights of this process, which must have one thread. Returns what the system does not support.

    The network namespace has no interface, not even loopback. Ids stay unmapped, because the trainer's sandbox, which
    readers inherit, does not allow writing maps.
    """
    missing = _missing("network and user namespaces", lambda: _call(_libc.unshare, _CLONE_NEWUSER | _CLONE_NEWNET))
    confined = [*filter(None, [missing]), *_confine_files(paths)]
    # A new user namespace grants all of them inside of it.
    return [*confined, *filter(None, [_missing("dropped capabilities", _drop_capabilities)])]


def enter_own_domain() -> None:
    """Enters a Landlock domain inside that of the sandbox, from which the other processes of the sandbox can neither be
    traced nor, since Landlock 6, signaled. Does nothing where the system does not support it.
    """
    # A domain must forbid something: no trainer creates block devices. Moves between folders are forbidden unless they
    # are allowed, too.
    with suppress(OSError):
        _landlock({"/": _REFER}, _MAKE_BLOCK_DEVICE | _REFER)


def _confine_files(paths: Paths) -> list[str]:
    missing = (
        _missing("dropped privileges", _drop_privileges),
        _missing("files and signals", lambda: _landlock(_allowed(paths), _ALL)),
    )
    return [*filter(None, missing)]


def _missing(what: str, confine: Callable[[], object]) -> str | None:
    try:
        confine()
    except OSError as error:
        return f"{what}: {error.strerror}"
    return None


def _unshare(*, loopback: bool) -> None:
    """Enters a user namespace with the same ids, and with `loopback` a network namespace that has only loopback."""
    uid, gid = os.geteuid(), os.getegid()
    _call(_libc.unshare, _CLONE_NEWUSER | (_CLONE_NEWNET if loopback else 0))
    for name, content in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(content)
    if loopback:
        # Processes of one trainer speak to each other over loopback.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            request = struct.pack("16sH14x", b"lo", 0)
            flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))[1]
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def _limit(file_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    most = file_bytes if hard == resource.RLIM_INFINITY else min(file_bytes, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def _drop_privileges() -> None:
    for capability in range(_LAST_CAPABILITY + 1):
        # Beyond the last that the kernel knows, and without the right to, there is nothing to drop.
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    _call(_libc.prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _drop_capabilities() -> None:
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    _call(_libc.capset, header, bytes(24))  # effective, permitted and inheritable, 64 bits each


def _allowed(paths: Paths) -> dict[str, int]:
    """The rights of each path."""
    allowed: dict[str, int] = {}
    for each, rights in ((paths.list, _READ_DIR), (paths.read, _READING), (paths.write, _ALL)):
        for path in each:
            allowed[path] = allowed.get(path, 0) | rights
    return allowed


def _landlock(paths: Mapping[str, int], forbidden: int) -> None:
    """Forbids the rights `forbidden`, except those that `paths` allows beneath a path."""
    version = _call(_libc.syscall, _LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
    rights = forbidden & _RIGHTS[min(version, max(_RIGHTS))]
    scopes = _SCOPE_SOCKETS_AND_SIGNALS if version >= _SCOPES_SINCE else 0
    attributes = struct.pack("QQQ", rights, 0, scopes)
    size = 24 if version >= _SCOPES_SINCE else 8
    ruleset = _call(_libc.syscall, _LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0)
    try:
        for path, allowed in paths.items():
            if allowed & rights:
                _allow(ruleset, path, allowed & rights)
        _call(_libc.syscall, _LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            return
        raise
    try:
        if not stat.S_ISDIR(os.fstat(parent).st_mode):
            rights &= _OF_FILES
        beneath = struct.pack("=Qi", rights, parent)
        _call(_libc.syscall, _LANDLOCK_ADD_RULE, ruleset, _PATH_BENEATH, beneath, 0)
    finally:
        os.close(parent)


def _call(function: Callable[..., int], *arguments: object) -> int:
    result = function(*arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


if __name__ == "__main__":
    main()
