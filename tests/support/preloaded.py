"""What the fork server imports: everything that its processes need and that reads no setting at import."""

import os
from importlib import import_module

from ttm_jobs.processes import importing

# Each process computes with one thread: tests run at the same time.
os.environ["OMP_NUM_THREADS"] = "1"
with importing():
    for name in (
        "celery.apps.worker",
        "celery.concurrency.thread",
        "celery.worker.components",
        "celery.worker.consumer",
        "celery.worker.strategy",
        "kombu.transport.redis",
        "tests.support.engine_process",
        "tests.support.tiny",
        "tests.support.tiny_trainer",
        "tests.ttm_core.factories",
        "ttm_client.cli.main",
        "ttm_core.__main__",
        "ttm_core.pipeline.distill",
        "ttm_core.pipeline.train",
        "worker.dispatcher.dispatcher",
        "worker.run.runner",
    ):
        import_module(name)
