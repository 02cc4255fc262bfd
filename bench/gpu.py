"""Tests and times the engine on this machine's GPU and writes both results to docs/performance.md.

    python -m bench.gpu    (`make gpu`)

Exits with 1 on a machine without CUDA, or if a test fails.
"""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

PAGE = Path("docs/performance.md")
BEGIN, END = "<!-- gpu: begin -->", "<!-- gpu: end -->"


def main() -> int:
    if not torch.cuda.is_available():
        print("This machine has no CUDA device, so nothing was tested or measured on a GPU.", file=sys.stderr)
        return 1
    passed, sentence = run_tests()
    print(sentence)
    speed = subprocess.run([sys.executable, "-m", "bench.speed"], check=True, stdout=subprocess.PIPE, text=True).stdout
    gpus = ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
    intro = f"{gpus}; CUDA {torch.version.cuda}; {datetime.now(UTC):%Y-%m-%d}. {sentence}"
    PAGE.write_text(with_section(PAGE.read_text(), f"{intro}\n\n{speed.strip()}"))
    return 0 if passed else 1


def run_tests() -> tuple[bool, str]:
    """Whether the tests of tests/gpu pass, and a sentence with their numbers."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "tests.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/gpu", f"--junitxml={file}"]
        passed = subprocess.run(command).returncode == 0
        return passed, count(file.read_text())


def count(junit: str) -> str:
    """A sentence with the numbers in a JUnit document."""
    [suite] = ElementTree.fromstring(junit).iter("testsuite")
    total, failed, skipped = (int(suite.get(name, "0")) for name in ("tests", "failures", "skipped"))
    failed += int(suite.get("errors", "0"))
    return f"Of {total} tests in tests/gpu, {total - failed - skipped} passed, {failed} failed, {skipped} were skipped."


def with_section(page: str, content: str) -> str:
    """The page with the content between its markers replaced."""
    before, marker, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not marker or not end:
        raise ValueError(f"{PAGE} has no section between {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


if __name__ == "__main__":
    sys.exit(main())
