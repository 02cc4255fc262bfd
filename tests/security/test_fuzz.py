"""The whole document, asked at random: with a key, nothing that is sent makes the service fail, and what it answers is
what the document says.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
    use_after_free,
)
from starlette.datastructures import Headers

from api.access import links
from api.definitions.references import parse_reference
from api.errors import RangeNotSatisfiable
from api.main import app
from api.pagination import decode_cursor, decode_moment
from api.problems import Refusal
from api.ranges import Part, Unchanged, Whole, select
from tests.api.conftest import make_settings
from tests.support.api_server import served
from tests.support.factories import queued
from ttm_jobs.addresses import is_public
from ttm_jobs.database import create_engine, session_scope
from ttm_jobs.errors import UriNotAllowed
from ttm_jobs.models import Scope
from ttm_jobs.repositories import keys
from ttm_jobs.uris import HttpUri, parse_uri

CHECKS = (
    not_a_server_error,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    ignored_auth,
    negative_data_rejection,
    unsupported_method,
    use_after_free,
)


# Revoking the key that asks would end the test early. To make specs of their whole schema takes minutes: hostile specs
# are in tests/api/test_bad_requests.py, where a good one is changed at random.
LEFT_OUT = ["keys_revoke", "jobs_create", "jobs_validate"]
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")

# tus has a version that is not its own refused with 412, and a number in a part of a spec may be written as a boolean:
# neither is what this check takes for a refusal.
NOT_NEGATIVE = ["uploads_create", "uploads_offset", "uploads_append", "teachers_create", "datasets_create"]
schema = schemathesis.openapi.from_dict(app.openapi()).exclude(operation_id=LEFT_OUT)


@dataclass(frozen=True)
class Target:
    """A service and a key to it."""

    url: str
    headers: dict[str, str]


# Requests by operation, for the page that tells of them.
asked: Counter[str] = Counter()


@pytest.fixture(scope="module")
def target(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("fuzz")
    shutil.copy(sqlite_template, folder / "ttm.db")
    own = make_settings(f"sqlite:///{folder}/ttm.db", folder)
    engine = create_engine(own.database_url)
    with session_scope(engine) as session:
        secret = keys.create(session, project_id="default", name="fuzz", scope=Scope.ADMIN).secret
    queued(engine)
    with served(own) as url:
        yield Target(url, {"Authorization": f"Bearer {secret}"})
    engine.dispose()
    print(f"{asked.total()} requests to {len(asked)} operations under {len(CHECKS)} checks")


@schema.parametrize()
@settings(
    max_examples=6,
    deadline=timedelta(seconds=20),
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_request_makes_the_service_fail(case: Any, target: Target) -> None:
    named = case.operation.definition.raw["operationId"]
    checks = [check for check in CHECKS if check is not negative_data_rejection or named not in NOT_NEGATIVE]
    case.call_and_validate(base_url=target.url, headers=target.headers, checks=checks, timeout=20)
    asked[named] += 1


@given(st.text(max_size=80), st.text(max_size=20), st.integers(0, 10_000))
@settings(deadline=None, max_examples=200)
def test_any_range_header_is_a_part_the_whole_or_refused(value: str, condition: str, size: int) -> None:
    raw = [(b"range", value.encode()), (b"if-range", condition.encode())]
    with suppress(RangeNotSatisfiable):
        match select(Headers(raw=raw), etag='"x"', size=size):
            case Part(start=start, end=end):
                assert 0 <= start < end <= size
            case Whole() | Unchanged():
                pass


@given(st.from_regex(r"bytes=[0-9]{0,20}-[0-9]{0,20}", fullmatch=True), st.integers(0, 10_000))
@settings(deadline=None, max_examples=200)
def test_any_well_formed_range_stays_within_the_file(value: str, size: int) -> None:
    test_any_range_header_is_a_part_the_whole_or_refused.hypothesis.inner_test(value, '"x"', size)


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=200)
def test_no_query_is_a_signed_link_by_chance(query: bytes) -> None:
    assert links.project_of_link(b"secret", "/jobs", query) is None
    assert links.project_of_link(b"secret", "/jobs", b"project=a&expires=99999999999&signature=" + query) is None


HOSTS = st.from_regex(r"[a-z0-9.\\-\\[\\]:@%_\\\\#]{1,40}", fullmatch=True) | st.ip_addresses().map(str)
ADDRESSES = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(
        ["https://", "http://", "s3://", "file://", "upload:", "job:", "timm:", "teacher:", "dataset:", ""]
    ),
    HOSTS,
    st.sampled_from(["", "/", ":443/", ":0/", "?", "#", "@", "%2f", "::"]),
    st.text(max_size=30),
)


@given(ADDRESSES | st.text(max_size=100))
@settings(deadline=None, max_examples=500)
def test_any_address_is_refused_or_read_as_one_thing(address: str) -> None:
    assert parse_reference(address) is None or ":" in address
    try:
        uri = parse_uri(address)
    except UriNotAllowed:
        return
    assert address.isprintable()
    if isinstance(uri, HttpUri):
        # What is connected to is what any other reader of the address takes for its host.
        parts = urlsplit(address)
        assert (parts.hostname, parts.username) == (uri.host.strip("[]"), None)
        assert (parts.port or {"http": 80, "https": 443}[uri.scheme]) == uri.port
        assert parse_uri(uri.url) == replace(uri, sha256=None)


@given(st.ip_addresses())
@settings(deadline=None, max_examples=300)
def test_an_address_is_no_more_public_for_being_written_into_another(address: Any) -> None:
    public = is_public(str(address))
    assert not public or address.is_global
    if address.version == 4:
        for written in (f"::ffff:{address}", f"64:ff9b::{address}"):
            assert is_public(written) == public


@given(st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9_-]{0,80}", fullmatch=True))
@settings(deadline=None, max_examples=300)
def test_no_text_is_a_cursor_by_chance(text: str) -> None:
    with pytest.raises(Refusal):
        decode_cursor("jobs", text, decode_moment)
