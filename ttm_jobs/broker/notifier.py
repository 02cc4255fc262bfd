"""The notifier: tells a worker that a job waits. A ring may be lost or repeated; the database is the truth."""

from heapq import heappop, heappush
from typing import Protocol

from celery import Celery
from kombu.exceptions import KombuError

from ttm_jobs.errors import ServiceError
from ttm_jobs.settings import DEFAULT_QUEUE

RUN_TASK = "ttm.run"


class BrokerUnavailable(ServiceError):
    """The broker does not answer."""

    status = 503
    code = "broker_unavailable"


class Notifier(Protocol):
    """Rings in a queue for a job; `priority` is 0 to 9, the highest first. BrokerUnavailable within seconds."""

    def notify(self, job_id: str, *, priority: int, queue: str = DEFAULT_QUEUE) -> None: ...


class CeleryNotifier:
    """Rings by the name of the task, so that who rings needs nothing of the worker's code."""

    def __init__(self, broker_url: str, queue_name: str) -> None:
        self._app = Celery("ttm", broker=broker_url, set_as_current=False)
        self._app.conf.update(celery_settings(queue_name))
        self._queue_name = queue_name
        # Who rings has other duties, and the ring is repeated anyway.
        self._app.conf.broker_transport_options |= {"socket_timeout": 2, "socket_connect_timeout": 2}
        # Redis takes the lowest number first, every other broker the highest.
        self._lowest_first = broker_url.startswith(("redis", "valkey", "sentinel"))

    def notify(self, job_id: str, *, priority: int, queue: str = DEFAULT_QUEUE) -> None:
        try:
            self._app.send_task(
                RUN_TASK,
                args=[job_id],
                queue=broker_queue(self._queue_name, queue),
                priority=9 - priority if self._lowest_first else priority,
                retry=True,
                retry_policy={"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2},
            )
        except (OSError, KombuError) as error:
            raise BrokerUnavailable(str(error)) from error


class InMemoryNotifier:
    """Keeps the rings in this process, for a worker that lives in it too."""

    def __init__(self) -> None:
        self._rings: dict[str, list[tuple[int, int, str]]] = {}
        self._count = 0

    def notify(self, job_id: str, *, priority: int, queue: str = DEFAULT_QUEUE) -> None:
        self._count += 1
        heappush(self._rings.setdefault(queue, []), (-priority, self._count, job_id))

    def take(self, queue: str = DEFAULT_QUEUE) -> list[str]:
        """What was rung in a queue since the last call, the most urgent first."""
        rings = self._rings.get(queue, [])
        return [heappop(rings)[2] for _ in range(len(rings))]


def broker_queue(queue_name: str, queue: str) -> str:
    """What a queue of ours is called at the broker."""
    return queue_name if queue == DEFAULT_QUEUE else f"{queue_name}.{queue}"


def celery_settings(queue_name: str) -> dict[str, object]:
    """What both ends of the broker must agree on."""
    return {
        "task_default_queue": queue_name,
        # RabbitMQ sorts a queue that was made for priorities; Redis needs no such thing.
        "task_queue_max_priority": 9,
        # Nobody reads results: the database has them. A result backend on the same Redis lost jobs.
        "task_ignore_result": True,
        # A message is a job's id; JSON cannot carry code.
        "task_serializer": "json",
        "accept_content": ["json"],
        "broker_transport_options": {
            # A hung Redis blocks for seconds, not for ever.
            "socket_timeout": 5,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "retry_on_timeout": False,
            "priority_steps": list(range(10)),
            "queue_order_strategy": "priority",
        },
    }
