"""Tests and times the engine on this machine's GPU and writes the results to docs/performance.md.

    python -m bench.gpu [tests] [speed] [utilization]    (`make gpu`: all three)

Each part replaces its own section of the page. Exits with 1 on a machine without CUDA, or if a test fails. Needs the
packages of ttm-core, pytest with pytest-timeout, and scikit-learn, and none of the service's.
"""

import argparse
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

PAGE = Path("docs/performance.md")
PARTS = ("tests", "speed", "utilization")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    chosen = parser.parse_args().parts
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    if not torch.cuda.is_available():
        print("This machine has no CUDA device, so nothing was tested or measured on a GPU.", file=sys.stderr)
        return 1
    gpus = ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
    machine = f"{gpus}; torch {torch.__version__}; CUDA {torch.version.cuda}; {datetime.now(UTC):%Y-%m-%d}."
    passed = True
    for part in chosen or PARTS:
        if part == "tests":
            passed, content = run_tests()
        else:
            content = output_of("bench.speed" if part == "speed" else "bench.gpu.utilization")
        print(content)
        PAGE.write_text(with_section(PAGE.read_text(), part, f"{machine}\n\n{content}"))
    return 0 if passed else 1


def run_tests() -> tuple[bool, str]:
    """Whether the tests of tests/gpu pass, and a sentence with their numbers."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "tests.xml"
        # Fixtures of tests/conftest.py need the packages of the service.
        options = ["-q", "-m", "gpu", "--confcutdir=tests/gpu", f"--junitxml={file}"]
        passed = subprocess.run([sys.executable, "-m", "pytest", *options, "tests/gpu"]).returncode == 0
        return passed, count(file.read_text())


def count(junit: str) -> str:
    """A sentence with the numbers in a JUnit document."""
    [suite] = ElementTree.fromstring(junit).iter("testsuite")
    total, failed, skipped = (int(suite.get(name, "0")) for name in ("tests", "failures", "skipped"))
    failed += int(suite.get("errors", "0"))
    return f"Of {total} tests in tests/gpu, {total - failed - skipped} passed, {failed} failed, {skipped} were skipped."


def output_of(module: str) -> str:
    """What a benchmark prints."""
    return subprocess.run([sys.executable, "-m", module], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def with_section(page: str, part: str, content: str) -> str:
    """The page with the content between a part's markers replaced."""
    begin, end = f"<!-- gpu {part}: begin -->", f"<!-- gpu {part}: end -->"
    before, found, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"{PAGE} has no section between {begin} and {end}")
    return f"{before}{begin}\n{content}\n{end}{after}"


if __name__ == "__main__":
    sys.exit(main())
