"""Writes the architectures of installed packages as one line of JSON: `python -m ttm_core.models.installed.report`."""

import json
from dataclasses import asdict

from ttm_core.models import INSTALLED


def main() -> None:
    print(json.dumps([asdict(row) for row in INSTALLED]))


if __name__ == "__main__":
    main()
