"""`python -m ttm_client.make_synchronous`: the client for threads, made from the one for asyncio, so that the two never
differ in what they do. Needs ruff; a test says when the files are stale.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_HERE = Path(__file__).parent
_HEAD = "# Made from ttm_client/asynchronous/{name} by `python -m ttm_client.make_synchronous`: change it there.\n"
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
    for source in sorted((_HERE / "asynchronous").glob("*.py")):
        yield _HERE / "synchronous" / source.name, _translated(source)


def _translated(source: Path) -> str:
    if source.name == "__init__.py":
        return '"""The client for threads."""\n'
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
    return _HEAD.format(name=source.name) + text


if __name__ == "__main__":
    for path, text in rendered():
        path.write_text(text, encoding="utf-8")
