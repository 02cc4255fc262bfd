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
    # The trainer is a process of its own, so the task only waits for it: a thread is enough, the main process goes on
    # talking to the broker, and SIGTERM reaches the task through a flag. There is no pool child to be lost, and none
    # that could not have children.
    worker_pool="threads",
    # One job at a time for each device; a second device is a second worker.
    worker_concurrency=1,
    # A busy worker would keep one more message to itself while another is idle. Redis only; elsewhere one is the least.
    worker_disable_prefetch=True,
    worker_prefetch_multiplier=1,
    # The lease tells a lost worker, so a message need not wait for the end of its job: acknowledged late, it would come
    # again after the visibility timeout while the job still runs.
    task_acks_late=False,
    # Losing the broker is no reason to lose a running job: the database holds its lease.
    worker_cancel_long_running_tasks_on_connection_loss=False,
    # The broker may come up after the worker, and may be away for as long as it likes.
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # Whoever starts the worker decides where its log goes.
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    # Who is there and what they do stands in the database.
    worker_send_task_events=False,
)
# A message that a worker took and did not acknowledge is put back after seconds, not after the default 100 s.
app.conf.broker_transport_options |= {"unacked_restore_interval": 10, "unacked_restore_throttle": 1}
