"""What the fork server imports: everything that its processes need and that reads no setting at import."""

from importlib import import_module

from ttm_jobs.processes import importing

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
        "tests.ttm_core.factories",
        "ttm_client.cli.main",
        "ttm_core.pipeline.distill",
        "ttm_core.pipeline.train",
        "worker.dispatcher.dispatcher",
        "worker.run.runner",
    ):
        import_module(name)
