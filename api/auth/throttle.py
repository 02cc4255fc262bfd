"""Failed sign-ins: counted per address, refused beyond a limit, and recorded in the audit log in bounded number."""

import ipaddress
import threading
import time
from collections import OrderedDict
from datetime import timedelta

import structlog
from sqlalchemy import Engine

from api.auth.origin import RequestOrigin
from ttm_jobs.database.audit import record
from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, session_scope
from ttm_jobs.models import DEFAULT_PROJECT
from ttm_jobs.repositories.access import audit, sign_in_failures

log = structlog.get_logger()

ACTION = "sign_in_failed"
_MAX_ENTRIES_PER_HOUR = 100
_MAX_ADDRESSES = 10_000
# Providers give each customer a /64 of IPv6 addresses.
_IPV6_PREFIX = 64


class SignInThrottle:
    """`limit` is the number of failures per minute and address; None for no limit."""

    def __init__(self, engine: Engine, limit: int | None) -> None:
        self._engine = engine
        self._limit = limit
        self._blocked: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, address: str | None) -> float:
        """Seconds until an address may try again; 0.0 if it may now."""
        with self._lock:
            until = self._blocked.get(_network(address), 0.0)
        return max(until - time.monotonic(), 0.0)

    def failed(self, origin: RequestOrigin, what: str) -> None:
        """Counts a failure. The audit log gets the first of an address in a minute and the one that reaches the limit,
        at most 100 in an hour; `what` is the object of the entry.
        """
        network = _network(origin.address)
        try:
            with session_scope(self._engine) as session:
                failures, seconds = sign_in_failures.add(session, network)
                if failures in (1, self._limit):
                    recent = audit.count(session, ACTION, within=timedelta(hours=1))
                    if recent < _MAX_ENTRIES_PER_HOUR:
                        record(session, origin.author(ACTION), project_id=DEFAULT_PROJECT, name=what)
        except DATABASE_UNAVAILABLE:
            # The sign-in has failed for a reason that is known; it is not counted.
            return
        log.warning("sign-in failed", address=origin.address, what=what, failures=failures)
        if self._limit is not None and failures >= self._limit:
            with self._lock:
                self._blocked[network] = time.monotonic() + seconds
                self._blocked.move_to_end(network)
                while len(self._blocked) > _MAX_ADDRESSES:
                    self._blocked.popitem(last=False)


def _network(address: str | None) -> str:
    """The address, or the network of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return (address or "")[:64]
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _IPV6_PREFIX), strict=False))
