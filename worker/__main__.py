"""`python -m worker`: one worker process."""

import os

from ttm_jobs.processes import make_files_private
from worker.app import app


def main() -> None:
    make_files_private()
    app.worker_main(
        [
            # Its banner is no log line.
            "--quiet",
            "worker",
            "--loglevel=INFO",
            # Several workers of one machine need names of their own.
            f"--hostname=worker-{os.getpid()}@%h",
            # Workers need not know each other: the database knows them all. Looking for neighbors costs a second at
            # start.
            "--without-gossip",
            "--without-mingle",
        ]
    )


if __name__ == "__main__":
    main()
