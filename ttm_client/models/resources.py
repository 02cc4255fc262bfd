"""Typed responses about everything but jobs."""

from datetime import datetime
from typing import Any

from ttm_client.models.base import ApiModel


class Key(ApiModel):
    """An API key without its secret. `prefix` is the beginning of the secret. `last_used_at` is accurate to ten
    minutes.

    >>> key = client.keys.create("nightly", scope="admin")
    >>> key.scope, key.expires_at, key.secret.startswith(key.prefix)
    ('admin', None, True)
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
    """A new API key. This is the only response that contains `secret`.

    >>> client.keys.create("nightly", scope="admin").secret
    'ttm_...'
    """

    secret: str


class ProjectSources(ApiModel):
    """The folders, hosts and buckets that the jobs of a project may read. Those of the service unless it is
    `restricted`.

    >>> sources = client.projects.restrict("vision", buckets=["gs://pets"])
    >>> sources.restricted, sources.data_roots, sources.buckets
    (True, (), ('gs://pets',))
    """

    project: str
    restricted: bool
    data_roots: tuple[str, ...]
    origins: tuple[str, ...]
    buckets: tuple[str, ...]


class Webhook(ApiModel):
    """An address that receives events of the project's jobs. An empty `events` means all events.

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
    """A webhook with a new `secret`. No other response contains it.

    >>> client.webhooks.create("https://hooks.example.org/ttm").secret
    'whsec_...'
    """

    secret: str


class Delivery(ApiModel):
    """A message to a webhook. `state` is pending, delivered or failed; `status` is the receiver's HTTP status.

    >>> webhook = client.webhooks.create("https://hooks.example.org/ttm")
    >>> delivery = client.webhooks.ping(webhook.id)
    >>> delivery.event, delivery.state, delivery.attempts
    ('webhook.ping', 'pending', 0)
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
    """A version of a registered teacher. Use `uri` in a job's spec.

    >>> entry = client.teachers.create("pets-resnet50", "job:" + done.id)
    >>> entry.uri, entry.teacher["checkpoint"] == "job:" + done.id
    ('teacher:pets-resnet50@1', True)
    """

    teacher: dict[str, Any]


class RegisteredDataset(_Version):
    """A version of a registered dataset. Use `uri` in a job's spec.

    >>> entry = client.datasets.create("pets", dataset, description="All 37 breeds.")
    >>> entry.uri, entry.description
    ('dataset:pets@1', 'All 37 breeds.')
    """

    dataset: dict[str, Any]


class InstalledArchitecture(ApiModel):
    """An architecture of a package on a worker. `origin` is the package's name and version.

    >>> [(each.name, each.origin) for each in next(client.workers.list()).architectures]
    []
    """

    name: str
    origin: str


class Worker(ApiModel):
    """A worker process. `job_id` is None for jobs of other projects. `architectures` are those of packages. `error` is
    that of its last claim or attempt, if that failed for another reason than the job.

    >>> worker = next(client.workers.list())
    >>> worker.hostname, worker.queues, worker.busy
    ('gpu-7', ('default',), False)
    """

    id: str
    hostname: str
    devices: tuple[Any, ...]
    queues: tuple[str, ...] = ()
    architectures: tuple[InstalledArchitecture, ...] = ()
    started_at: datetime
    last_seen_at: datetime
    busy: bool
    job_id: str | None
    job_name: str | None = None
    error: str | None = None


class QueueStats(ApiModel):
    """The project's queued jobs in one queue. `project_position` is the project's position among the projects that
    have jobs queued there; 1 is next.

    >>> stats = client.queue.get().queues[0]
    >>> stats.name, stats.depth, stats.workers, stats.project_position
    ('default', 1, 1, 1)
    """

    name: str
    depth: int
    oldest_age_seconds: float | None
    workers: int
    idle_workers: int
    projects: int
    project_position: int | None


class QueueOverview(ApiModel):
    """Numbers of queued and running jobs of the project.

    >>> queue = client.queue.get()
    >>> queue.depth, queue.running
    (1, 1)
    """

    depth: int
    running: int
    oldest_age_seconds: float | None
    idle_workers: int
    queues: tuple[QueueStats, ...] = ()


class WaitingJob(ApiModel):
    """A queued job, its position, and what it is `blocked_on`: queue, worker, device, memory, architecture,
    limit or time.

    >>> waiting = next(client.queue.jobs())
    >>> waiting.id == queued.id, waiting.position, waiting.blocked_on
    (True, 1, 'queue')
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
    """A host that stores a copy of a teacher store.

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
    """Stored logits of a teacher for the views of a dataset. `cache_hits` counts the images whose logits jobs of the
    project read from the store, `forwards` those that they ran the teacher on.

    >>> store = next(client.teacher_stores.list())
    >>> store.size, store.rows, store.jobs, store.cache_hits
    (96000000, 48000, 1, 24000)
    """

    key: str
    teacher: str | None
    dataset: str
    encoding: str
    size: int
    rows: int
    jobs: int
    cache_hits: int
    forwards: int
    last_used_at: datetime
    hosts: tuple[StoreHost, ...]


class View(ApiModel):
    """Saved parameters of a list on the dashboard. `page` is jobs or studies, `href` the path of the page.

    >>> view = client.views.save("jobs", "failed ones", {"state": "failed"})
    >>> view.query, view.href
    ('state=failed', '/ui/jobs?state=failed')
    """

    page: str
    name: str
    query: str
    href: str
    created_at: datetime


class AuditEntry(ApiModel):
    """A change that a request made. `actor` is the name of the API key or the person, `action` the id of the operation.

    >>> job = client.jobs.update(done.id, tags=["night"])
    >>> entry = next(client.audit.list(object=done.id))
    >>> entry.actor, entry.action
    (None, 'jobs_update')
    """

    id: str
    created_at: datetime
    key_id: str | None
    user_id: str | None
    actor: str | None
    action: str
    object: str | None
    request_id: str
    address: str | None


class Limits(ApiModel):
    """Limits of a project. None means no limit.

    >>> client.usage().limits.running_jobs is None
    True
    """

    running_jobs: int | None
    queued_jobs: int | None
    stored_bytes: int | None
    device_hours: float | None


class Usage(ApiModel):
    """Resources that the project uses.

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
