"""Sends pending webhook deliveries concurrently, with retries. Any number of processes may run it."""

import logging
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import timedelta
from threading import Event as Flag

import httpcore2
from sqlalchemy import Engine

from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, describe_error, read_scope, session_scope
from ttm_jobs.errors import ServiceError
from ttm_jobs.models import OutboxMessage
from ttm_jobs.repositories import outbox
from ttm_jobs.repositories.webhooks import sending
from ttm_jobs.repositories.webhooks.sending import OutgoingRequest, RetryPolicy
from ttm_jobs.settings import Settings
from ttm_jobs.webhook_signatures import signed
from worker.inputs.network import Bounds, GuardedNetwork

logger = logging.getLogger(__name__)

_CONCURRENCY = 16
# Only the status of a response matters; the connection is closed after this many bytes.
_MAX_RESPONSE_BYTES = 64 * 1024
_CLEANUP_SECONDS = 600.0


class WebhookSender:
    """Claims deliveries from the outbox and sends them in a thread pool."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self._policy = RetryPolicy(
            first=timedelta(seconds=settings.webhook_retry_seconds),
            give_up_after=timedelta(seconds=settings.webhook_disable_seconds),
        )
        # A delivery whose sender died is sent again after this time.
        self._again_after = timedelta(seconds=settings.webhook_timeout_seconds + 45)
        self._pool = ThreadPoolExecutor(_CONCURRENCY, thread_name_prefix="webhook")
        # By their lanes.
        self._in_flight: dict[Future[None], str] = {}
        self._cleanup_at = 0.0

    def serve(self, stop: Flag) -> None:
        """Runs until `stop` is set."""
        seconds = self._settings.dispatch_interval_seconds
        while not stop.is_set():
            try:
                in_flight = self.send_due()
                self._delete_old()
                if in_flight:
                    wait(self._in_flight, timeout=seconds, return_when=FIRST_COMPLETED)
                else:
                    stop.wait(seconds)
            except DATABASE_UNAVAILABLE as error:
                logger.warning("webhooks wait for the database: %s", describe_error(error))
                stop.wait(1.0)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def send_due(self) -> int:
        """Submits due deliveries to free threads. Returns the number of deliveries in flight."""
        self._in_flight = {future: lane for future, lane in self._in_flight.items() if not future.done()}
        free = _CONCURRENCY - len(self._in_flight)
        with read_scope(self._engine) as session:
            due = free > 0 and sending.any_due(session)
        if due:
            with session_scope(self._engine) as session:
                messages = sending.take(session, self._in_flight.values(), limit=free, again_after=self._again_after)
            self._in_flight |= {self._pool.submit(self._deliver, message): message.lane for message in messages}
        return len(self._in_flight)

    def finish(self) -> None:
        """Waits for the deliveries in flight."""
        wait(self._in_flight)

    def _deliver(self, message: OutboxMessage) -> None:
        try:
            delivery_id = message.payload["delivery_id"]
            with read_scope(self._engine) as session:
                request = sending.outgoing(session, delivery_id)
            if request is None:
                with session_scope(self._engine) as session:
                    sending.give_up(session, delivery_id)
                    outbox.delivered(session, [message.id])
                return
            status, error = self._post(request)
            with session_scope(self._engine) as session:
                again = sending.record_attempt(session, delivery_id, status=status, error=error, policy=self._policy)
                if again is None:
                    outbox.delivered(session, [message.id])
                else:
                    outbox.postpone(session, message.id, again)
        except DATABASE_UNAVAILABLE as error:
            # It is still pending and will be sent again with the same id.
            logger.warning("the result of a webhook delivery could not be recorded: %s", describe_error(error))
        except Exception:
            logger.exception("a webhook could not be sent")

    def _post(self, request: OutgoingRequest) -> tuple[int | None, str | None]:
        """Returns the response's status, or the error. Redirects are not followed."""
        seconds = self._settings.webhook_timeout_seconds
        bounds = Bounds(time.monotonic() + seconds, seconds, 0, lambda: None)
        network = GuardedNetwork(self._settings.private_hosts, bounds)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "ttm",
            **signed(request.secrets, request.id, int(time.time()), request.body),
        }
        try:
            with (
                httpcore2.ConnectionPool(network_backend=network) as pool,
                pool.stream("POST", request.url, headers=list(headers.items()), content=request.body) as response,
            ):
                received = 0
                for chunk in response.iter_stream():
                    received += len(chunk)
                    if received > _MAX_RESPONSE_BYTES:
                        break
                return response.status, None
        except ServiceError as error:
            return None, error.message
        except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError, OSError) as error:
            return None, f"The connection broke: {type(error).__name__}."

    def _delete_old(self) -> None:
        if time.monotonic() < self._cleanup_at:
            return
        self._cleanup_at = time.monotonic() + _CLEANUP_SECONDS
        with session_scope(self._engine) as session:
            sending.delete_old(session)
