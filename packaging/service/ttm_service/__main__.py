"""`python -m ttm_service api|worker|dispatcher`: one process of the service, for process managers and images."""

import runpy
import sys

from ttm_service import _activate

_MODULES = {"api": "api", "worker": "worker", "dispatcher": "worker.dispatcher"}


def main() -> None:
    """Runs the named process with the remaining arguments."""
    if len(sys.argv) < 2 or sys.argv[1] not in _MODULES:
        sys.exit(f"usage: python -m ttm_service {'|'.join(_MODULES)} [ARGUMENT ...]")
    name = sys.argv.pop(1)
    _activate()
    runpy.run_module(_MODULES[name], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
