"""Chromium, which tests and benchmarks of the dashboard start."""

import os
import shutil

CHROMIUM = os.environ.get("TTM_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
