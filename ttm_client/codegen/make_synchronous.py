"""Generates the synchronous client from the asyncio client: `python -m ttm_client.codegen.make_synchronous`.

Needs ruff. A test fails when the generated files are stale.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_HERE = Path(__file__).resolve().parents[1]
_HEAD = "# From asynchronous/{name} by `python -m ttm_client.codegen.make_synchronous`: edit that.\n"
_WORDS = (
    (r"await asyncio\.to_thread\(([\w.]+), ", r"\1("),
    (r"await asyncio\.to_thread\(([\w.]+)\)", r"\1()"),
    (r"\bawait ", ""),
    (r"\bAwaitable\[(\w+)\]", r"\1"),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bimport asyncio\b", "import time"),
    (r"\basyncio\.sleep\b", "time.sleep"),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\b__a(enter|exit)__\b", r"__\1__"),
    (r"\ba(close|read|iter_bytes)\b", r"\1"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\bttm_client\.asynchronous\b", "ttm_client.synchronous"),
)


def rendered() -> Iterator[tuple[Path, str]]:
    """Each file of the client for threads, and what it should hold."""
    root = _HERE / "asynchronous"
    for source in sorted(root.rglob("*.py")):
        name = source.relative_to(root)
        yield _HERE / "synchronous" / name, _translated(source, name)


def _translated(source: Path, name: Path) -> str:
    if name.name == "__init__.py":
        return '"""The synchronous client."""\n'
    text = source.read_text(encoding="utf-8")
    for pattern, replacement in _WORDS:
        text = re.sub(pattern, replacement, text)
    # An import that is no longer needed, a loop that `yield from` says, and lines that have become shorter.
    tidied = ["check", "--quiet", "--fix", "--unsafe-fixes", "--select", "F401,I001,UP028"]
    for command in (tidied, ["format", "--quiet"]):
        text = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(source), "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    return _HEAD.format(name=name.as_posix()) + text


if __name__ == "__main__":
    for path, text in rendered():
        path.write_text(text, encoding="utf-8")
