"""Other libraries on the same images, teacher, student, epochs and seeds. Each run is a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any


def run_peer(contender: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracies and CPU-seconds of a run by `contender` of a job's spec. Raises CalledProcessError if it fails."""
    command = [sys.executable, "-m", "bench.results.peers", contender]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, input=json.dumps(spec), text=True, check=True, stdout=subprocess.PIPE, env=environment
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
