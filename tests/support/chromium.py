"""Chromium, which tests and benchmarks of the dashboard start."""

import os
import shutil

_PROGRAMS = ("chromium-headless-shell", "chromium", "google-chrome")
CHROMIUM = os.environ.get("TTM_CHROMIUM") or next(filter(None, map(shutil.which, _PROGRAMS)), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
