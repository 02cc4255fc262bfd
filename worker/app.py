"""`celery -A worker.app worker`: the Celery app, and each setting with its reason."""

from celery import Celery
from kombu.entity import Exchange, Queue

from ttm_jobs.broker.notifier import broker_queue, celery_settings
from ttm_jobs.settings import get_settings

settings = get_settings()

_QUEUES = [broker_queue(settings.queue_name, queue) for queue in settings.queues]

app = Celery("ttm", broker=settings.broker_url, include=["worker.tasks"])
app.conf.update(celery_settings(settings.queue_name))
app.conf.update(
    task_queues=[Queue(name, Exchange(name), name) for name in _QUEUES],  # type: ignore[no-untyped-call]
    # The task only waits for the trainer process, so a thread is enough: the main process keeps its broker connection,
    # SIGTERM reaches the task through a flag, and there is no pool child that could be lost or may not have children.
    worker_pool="threads",
    # One job at a time per device; a second device needs a second worker.
    worker_concurrency=1,
    # Otherwise a busy worker reserves a message while another is idle. Redis only; other brokers need at least one.
    worker_disable_prefetch=True,
    worker_prefetch_multiplier=1,
    # Leases detect lost workers. Late acknowledgement would repeat the message after the visibility timeout while the
    # job still runs.
    task_acks_late=False,
    # A running job does not need the broker: its lease is in the database.
    worker_cancel_long_running_tasks_on_connection_loss=False,
    # The broker may start after the worker and may be unavailable for any time.
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # The parent process decides where the log goes.
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    # The state of workers is in the database.
    worker_send_task_events=False,
)
# Unacknowledged messages are restored after 10 s instead of the default 100 s.
app.conf.broker_transport_options |= {"unacked_restore_interval": 10, "unacked_restore_throttle": 1}
