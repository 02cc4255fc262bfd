"""What the service answers about all that is not a job, typed."""

from datetime import datetime
from typing import Any

from ttm_client.models.jobs import ApiModel


class Key(ApiModel):
    """A key without its secret; `prefix` is the beginning of it, by which to know it again. `last_used_at` is right to
    within ten minutes.

    >>> key = client.keys.create("nightly", scope="read")
    >>> key.scope, key.expires_at, key.secret.startswith(key.prefix)
    ('read', None, True)
    """

    id: str
    name: str
    prefix: str
    project: str
    scope: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class NewKey(Key):
    """A key whose `secret` was just made; it is told this once.

    >>> client.keys.create("nightly").secret
    'ttm_...'
    """

    secret: str


class Webhook(ApiModel):
    """An address that is told of the project's jobs; empty `events` are all of them.

    >>> webhook = client.webhooks.create("https://hooks.example.org/ttm", events=["job.succeeded"])
    >>> client.webhooks.get(webhook.id).events, webhook.enabled
    (('job.succeeded',), True)
    """

    id: str
    url: str
    events: tuple[str, ...]
    description: str | None
    enabled: bool
    disabled_at: datetime | None
    disabled_reason: str | None
    failing_since: datetime | None
    created_at: datetime


class NewWebhook(Webhook):
    """A webhook whose `secret` was just made; it is told this once.

    >>> client.webhooks.create("https://hooks.example.org/ttm").secret
    'whsec_...'
    """

    secret: str


class Delivery(ApiModel):
    """What a webhook was told, or is to be: `state` is waiting, delivered or failed, `status` the receiver's answer.

    >>> webhook = client.webhooks.create("https://hooks.example.org/ttm")
    >>> delivery = client.webhooks.ping(webhook.id)
    >>> delivery.event, delivery.state, delivery.attempts
    ('webhook.ping', 'waiting', 0)
    """

    id: str
    event: str
    state: str
    attempts: int
    status: int | None
    error: str | None
    created_at: datetime
    last_attempt_at: datetime | None
    next_attempt_at: datetime | None
    body: str


class _Version(ApiModel):
    name: str
    version: int
    uri: str
    description: str | None
    created_at: datetime


class RegisteredTeacher(_Version):
    """A version of a teacher that has a name; `uri` names it in a job's spec.

    >>> named = client.teachers.create("pets-resnet50", "job:" + done.id)
    >>> named.uri, named.teacher["checkpoint"] == "job:" + done.id
    ('teacher:pets-resnet50@1', True)
    """

    teacher: dict[str, Any]


class RegisteredDataset(_Version):
    """A version of a dataset that has a name; `uri` names it in a job's spec.

    >>> named = client.datasets.create("pets", dataset, description="All 37 breeds.")
    >>> named.uri, named.description
    ('dataset:pets@1', 'All 37 breeds.')
    """

    dataset: dict[str, Any]


class Worker(ApiModel):
    """A process that takes jobs; `job_id` is told of the project's own jobs alone.

    >>> worker = next(client.workers.list())
    >>> worker.hostname, worker.queues, worker.busy
    ('gpu-7', ('default',), False)
    """

    id: str
    hostname: str
    devices: tuple[Any, ...]
    queues: tuple[str, ...] = ()
    started_at: datetime
    last_seen_at: datetime
    busy: bool
    job_id: str | None


class QueueLine(ApiModel):
    """What of the project waits in one queue; `turn` counts among the projects that wait there, 1 being the next.

    >>> line = client.queue.get().queues[0]
    >>> line.name, line.depth, line.workers, line.turn
    ('default', 1, 1, 1)
    """

    name: str
    depth: int
    oldest_age_seconds: float | None
    workers: int
    idle_workers: int
    projects: int
    turn: int | None


class QueueOverview(ApiModel):
    """What waits and runs, of the project.

    >>> queue = client.queue.get()
    >>> queue.depth, queue.running
    (1, 1)
    """

    depth: int
    running: int
    oldest_age_seconds: float | None
    idle_workers: int
    queues: tuple[QueueLine, ...] = ()


class WaitingJob(ApiModel):
    """A queued job, its place, and what it `blocked_on`: turn, worker, memory, limit or time.

    >>> waiting = next(client.queue.jobs())
    >>> waiting.id == queued.id, waiting.position, waiting.blocked_on
    (True, 1, 'turn')
    """

    id: str
    name: str | None
    owner: str | None
    teacher: str | None
    student: str
    position: int
    priority: int
    device_memory_bytes: int | None
    attempt: int
    created_at: datetime
    queued_at: datetime
    not_before: datetime | None
    deadline_at: datetime | None
    blocked_on: str
    blocked_reason: str | None = None


class StoreHost(ApiModel):
    """A host whose workers hold a teacher store.

    >>> store = next(client.teacher_stores.list())
    >>> [(host.hostname, host.size) for host in store.hosts]
    [('gpu-7', 96000000)]
    """

    hostname: str
    size: int
    rows: int
    used_at: datetime
    last_seen_at: datetime


class TeacherStore(ApiModel):
    """A teacher's logits for the views of a dataset; `hits` counts the images that jobs of the project read there.

    >>> store = next(client.teacher_stores.list())
    >>> store.size, store.rows, store.jobs, store.hits
    (96000000, 48000, 1, 24000)
    """

    key: str
    teacher: str | None
    dataset: str
    encoding: str
    size: int
    rows: int
    jobs: int
    hits: int
    filled: int
    last_used_at: datetime
    hosts: tuple[StoreHost, ...]


class Limits(ApiModel):
    """What a project may have; None: no limit.

    >>> client.usage().limits.running_jobs is None
    True
    """

    running_jobs: int | None
    queued_jobs: int | None
    stored_bytes: int | None
    device_hours: float | None


class Usage(ApiModel):
    """What the project has and has used.

    >>> used = client.usage()
    >>> used.project, used.running_jobs, used.queued_jobs
    ('default', 1, 1)
    """

    project: str
    running_jobs: int
    queued_jobs: int
    stored_bytes: int
    device_hours: float
    limits: Limits
