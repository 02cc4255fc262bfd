"""`python -m ttm_client.reference`: docs/reference/sdk.md, made from the docstrings of the client."""

import inspect
from collections.abc import Iterator
from typing import Any

import ttm_client
from ttm_client.asynchronous.client import AsyncClient
from ttm_client.synchronous.client import Client

_HEAD = """# The Python client

Made by `python -m ttm_client.reference > docs/reference/sdk.md`; a test says when it is stale, and runs every example.

`pip install ttm` brings it with the command line; it needs no torch. `Client` is for threads, `AsyncClient` for
asyncio: the same resources, methods and errors, with `await` before each call, `async for` over lists and events, and
`async with` around the client. The one is made from the other, so they do the same.

Requests that may be sent twice (reads, and submissions, which carry an `Idempotency-Key` of their own) are tried up to
five times while the service is away or busy, after the pause that `Retry-After` asks for, a minute at most.

In the examples `client` is a connected `Client`; `queued`, `running`, `failed` and `done` are jobs in those states,
`dataset` is the address of a dataset, `trained` a student's file, `image` a PIL image, `busy` a client of a service
that has no time. One idle worker and one teacher store, on the host gpu-7, are there.
"""
_RESOURCES = (
    "jobs",
    "uploads",
    "teachers",
    "datasets",
    "architectures",
    "recipes",
    "queue",
    "workers",
    "teacher_stores",
    "webhooks",
)


def render() -> str:
    """The page as Markdown."""
    return _HEAD + "".join(_sections())


def public_names() -> Iterator[tuple[str, Any]]:
    """Each public class and function by the name that its user writes, and each method and property of the classes."""
    for prefix, client in (("", Client), ("Async", AsyncClient)):
        yield from _with_members(f"{prefix}Client", client)
        resources = vars(client())
        for name in _RESOURCES:
            yield from _with_members(f"{prefix}Client().{name}", type(resources[name]))
    for name in ttm_client.__all__:
        if name not in ("Client", "AsyncClient"):
            yield from _with_members(name, getattr(ttm_client, name))


def _with_members(name: str, thing: Any) -> Iterator[tuple[str, Any]]:
    yield name, thing
    for part, member in vars(thing).items() if inspect.isclass(thing) else ():
        if not part.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
            yield f"{name}.{part}", member


def _sections() -> Iterator[str]:
    yield "\n## Client\n"
    others = False
    for name, thing in public_names():
        if name.startswith("AsyncClient"):
            continue
        if not others and not name.startswith("Client"):
            others = True
            yield "\n## What it gives and raises\n"
        yield f"\n### `{name.replace('Client().', 'client.')}{_signature(thing)}`\n\n{_text(thing)}\n"
        if inspect.isclass(thing) and (fields := getattr(thing, "model_fields", None)):
            yield "\nFields: " + ", ".join(f"`{field}`" for field in fields) + ".\n"


def _signature(thing: Any) -> str:
    if not inspect.isfunction(thing):
        return ""
    parameters = [one for one in inspect.signature(thing).parameters.values() if one.name != "self"]
    bare = [one.replace(annotation=inspect.Parameter.empty) for one in parameters]
    return str(inspect.Signature(bare))


def _text(thing: Any) -> str:
    """A docstring with its example, which stands last, as a block of code."""
    words, prompt, example = (inspect.getdoc(thing) or "").partition(">>> ")
    return f"{words.rstrip()}\n\n```pycon\n{prompt}{example.rstrip()}\n```"


if __name__ == "__main__":
    print(render(), end="")
