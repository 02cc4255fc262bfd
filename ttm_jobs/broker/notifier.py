"""Notifiers send wake-up messages to workers. Messages may be lost or repeated; the database is the source of truth."""

from heapq import heappop, heappush
from typing import Protocol

from celery import Celery
from kombu.exceptions import KombuError

from ttm_jobs.errors import ServiceError
from ttm_jobs.settings import DEFAULT_QUEUE

RUN_TASK = "ttm.run"


class BrokerUnavailable(ServiceError):
    """The broker is unavailable."""

    status = 503
    code = "broker_unavailable"


class Notifier(Protocol):
    """Sends a wake-up message for a job. `priority` is 0 to 9; higher is first. Raises BrokerUnavailable in seconds."""

    def notify(self, job_id: str, *, priority: int, queue: str = DEFAULT_QUEUE) -> None: ...


class CeleryNotifier:
    """Sends the task by name, so the dispatcher does not import worker code."""

    def __init__(self, broker_url: str, queue_name: str) -> None:
        self._app = Celery("ttm", broker=broker_url, set_as_current=False)
        self._app.conf.update(celery_settings(queue_name))
        self._queue_name = queue_name
        # Short timeouts: the dispatcher has other work and repeats lost messages.
        self._app.conf.broker_transport_options |= {"socket_timeout": 2, "socket_connect_timeout": 2}
        # On Redis, the lowest number has the highest priority; on other brokers, the highest.
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
    """Keeps wake-up messages in memory, for a worker in the same process."""

    def __init__(self) -> None:
        self._messages: dict[str, list[tuple[int, int, str]]] = {}
        self._count = 0

    def notify(self, job_id: str, *, priority: int, queue: str = DEFAULT_QUEUE) -> None:
        self._count += 1
        heappush(self._messages.setdefault(queue, []), (-priority, self._count, job_id))

    def take(self, queue: str = DEFAULT_QUEUE) -> list[str]:
        """Removes and returns the messages of a queue, highest priority first."""
        messages = self._messages.get(queue, [])
        return [heappop(messages)[2] for _ in range(len(messages))]


def broker_queue(queue_name: str, queue: str) -> str:
    """The broker's name of a queue."""
    return queue_name if queue == DEFAULT_QUEUE else f"{queue_name}.{queue}"


def celery_settings(queue_name: str) -> dict[str, object]:
    """Celery settings shared by dispatcher and workers."""
    return {
        "task_default_queue": queue_name,
        # RabbitMQ needs it for priority queues; Redis ignores it.
        "task_queue_max_priority": 9,
        # Results are in the database. A result backend on the same Redis lost jobs.
        "task_ignore_result": True,
        # JSON cannot carry code.
        "task_serializer": "json",
        "accept_content": ["json"],
        "broker_transport_options": {
            # Bounds the time that a hanging Redis blocks.
            "socket_timeout": 5,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "retry_on_timeout": False,
            "priority_steps": list(range(10)),
            "queue_order_strategy": "priority",
        },
    }
