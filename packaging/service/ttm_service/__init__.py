"""The installed service. Its packages (`api`, `worker`, `cli`, ...) live in this folder, not in site-packages.

`make dist` copies them here. In a checkout they are importable from the repository root, and nothing is added.
"""

import os
import sys
from pathlib import Path

import typer

_BUNDLE = Path(__file__).parent


def _activate() -> None:
    """Makes the bundled packages importable, here and in the processes that this one starts."""
    if not (_BUNDLE / "api").is_dir():
        return
    bundle = str(_BUNDLE)
    if bundle not in sys.path:
        sys.path.insert(0, bundle)
    inherited = os.environ.get("PYTHONPATH", "")
    if bundle not in inherited.split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (bundle, inherited)))


def register_commands(app: typer.Typer) -> None:
    """Adds the commands that need the service's own packages to `ttm`: up, demo, doctor, keys, projects, secrets and
    distill.
    """
    _activate()
    from cli.main import register

    register(app)
