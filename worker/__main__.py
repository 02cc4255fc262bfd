"""`python -m worker`: one worker process."""

import os

from ttm_jobs.processes import importing, make_files_private


def main() -> None:
    make_files_private()
    with importing():
        # Celery would import both later.
        import celery.apps.worker  # noqa: F401

        import worker.tasks  # noqa: F401
        from worker.app import app
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
