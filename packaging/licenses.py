"""The licenses of all installed packages, checked against a list of allowed ones.

    python packaging/licenses.py [PAGE]

Writes the table to PAGE if given. Exits with an error that names each package whose license is not allowed.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

# SPDX identifiers, and names that older metadata uses in their place.
ALLOWED = frozenset(
    [
        "0BSD",
        "Apache-2.0",
        "BSD",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC0-1.0",
        "CNRI-Python",
        "ISC",
        "LLVM-exception",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "MPL-2.0",
        "PSF-2.0",
        "Python-2.0",
        "Unlicense",
        "Zlib",
    ]
)
# Packages with another license, and why they may be used.
EXCEPTIONS = {
    "axe-playwright-python": "MIT, by its license file",
    "promql-parser": "MIT, by its license file",
    "psycopg": "LGPL-3.0-only: used unchanged as a library; only with PostgreSQL.",
    "psycopg-binary": "LGPL-3.0-only: used unchanged as a library; only with PostgreSQL.",
}
# Part of PyTorch's CUDA build. NVIDIA's terms allow their use and redistribution with applications.
_NVIDIA = re.compile(r"^(?:nvidia-|cuda-)")
_OWN = re.compile(r"^ttm-")
_NAMES = {
    "Apache Software License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache": "Apache-2.0",
    "BSD License": "BSD",
    "3-Clause BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}


@dataclass(frozen=True)
class Licensed:
    """A package and its license: an SPDX expression where the package states one."""

    name: str
    license: str

    @property
    def allowed(self) -> bool:
        """Whether the license, or one of several to choose from, is allowed, or the package is an exception."""
        if self.name in EXCEPTIONS or _NVIDIA.match(self.name):
            return True
        choices = re.split(r" OR ", self.license)
        return any(all(_is_allowed(part) for part in re.split(r" AND | WITH |, ", choice)) for choice in choices)


def _is_allowed(name: str) -> bool:
    name = name.strip(" ()")
    return _NAMES.get(name, name) in ALLOWED


def installed() -> list[Licensed]:
    """The installed packages by name, except this project's."""
    found = {}
    for distribution in distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        if not _OWN.match(name):
            found[name] = Licensed(name, _license(distribution))
    return [found[name] for name in sorted(found)]


def _license(distribution: Distribution) -> str:
    metadata = distribution.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = [
        line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier", []) if line.startswith("License :: OSI")
    ]
    if classifiers and classifiers != ["OSI Approved"]:
        return ", ".join(_NAMES.get(name, name) for name in classifiers)
    # Some packages put the whole text here.
    stated = (str(metadata.get("License") or "").strip().splitlines() or ["unknown"])[0][:60]
    return _NAMES.get(stated, stated)


def page(packages: list[Licensed]) -> str:
    """A Markdown page with a table of all packages."""
    return "\n".join([*_lines(packages), ""])


def _lines(packages: list[Licensed]) -> Iterator[str]:
    yield from (
        "# Licenses of the dependencies",
        "",
        "For those who review what they install: every package of `requirements.lock`, including those that only tests "
        "and documentation use. `make licenses` writes this page and fails if a license is not on the list of allowed "
        "ones in `packaging/licenses.py`; `make sbom` writes the versions as a CycloneDX document.",
        "",
        "The packages of NVIDIA belong to PyTorch's CUDA build and are proprietary; NVIDIA's terms allow their use and "
        "redistribution with applications.",
        "",
        "| Package | License |",
        "|---|---|",
    )
    for each in packages:
        yield f"| {each.name} | {EXCEPTIONS.get(each.name, each.license)} |"


def main() -> None:
    packages = installed()
    if refused := [each for each in packages if not each.allowed]:
        lines = "\n".join(f"  {each.name}: {each.license}" for each in refused)
        sys.exit(f"licenses that are not allowed:\n{lines}")
    if sys.argv[1:]:
        Path(sys.argv[1]).write_text(page(packages))


if __name__ == "__main__":
    main()
