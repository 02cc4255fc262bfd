"""The whole document, asked at random: with a key, nothing that is sent makes the service fail, and what it answers is
what the document says.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
    use_after_free,
)
from sqlalchemy import Engine, delete
from sqlalchemy.orm import Session
from starlette.datastructures import Headers

from api.auth import links
from api.http.errors import RangeNotSatisfiable
from api.http.pagination import decode_cursor, decode_moment
from api.http.problems import Refusal
from api.http.ranges import Part, Unchanged, Whole, select
from api.main import app
from api.registry.references import parse_reference
from tests.api.conftest import make_settings
from tests.support.api_server import served
from tests.support.factories import queued
from tests.support.runs import claim, succeed, train
from ttm_core.spec import recipes
from ttm_jobs.database.engine import create_engine, session_scope
from ttm_jobs.errors import UriNotAllowed
from ttm_jobs.models import Scope, Webhook
from ttm_jobs.repositories import registry, uploads, webhooks
from ttm_jobs.repositories.access import keys
from ttm_jobs.storage import Storage, build_storage
from ttm_jobs.uris import HttpUri, is_public, parse_uri

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
    allow_header_conformance,
)


schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
# tus has a version that is not its own refused with 412.
REFUSALS = [400, 401, 403, 404, 412, 413, 415, 422]
CONFIG = schemathesis.Config.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}})
schema = schemathesis.openapi.from_dict(app.openapi(), config=CONFIG)


@dataclass(frozen=True)
class Target:
    """A service, a key to it, and what paths name: how it is made, and what was, by parameter."""

    url: str
    headers: dict[str, str]
    make: Mapping[str, Callable[[], str]]
    made: dict[str, str]


# Requests by operation, for the page that tells of them; and those that might have been sent.
asked: Counter[str] = Counter()
drawn: Counter[str] = Counter()
# Every bound of every field of a spec makes some thousands of bodies, of which each tenth is sent.
LARGE = frozenset({"jobs_create", "jobs_validate"})


@pytest.fixture(scope="module")
def target(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("fuzz")
    shutil.copy(sqlite_template, folder / "ttm.db")
    own = make_settings(f"sqlite:///{folder}/ttm.db", folder)
    engine = create_engine(own.database_url)
    with session_scope(engine) as session:
        secret = keys.create(session, project_id="default", name="fuzz", scope=Scope.ADMIN).secret
        for kind in ("teacher", "dataset"):
            registry.add(session, kind, NAMES[f"/{kind}s"], {"uri": "x"}, description=None)

    def within(make: Callable[[Session], str]) -> str:
        with session_scope(engine) as session:
            return make(session)

    make = {
        "job_id": lambda: make_job(engine, build_storage(own.storage_url)),
        "waiting": lambda: queued(engine),
        "upload_id": lambda: within(make_upload),
        "webhook_id": lambda: within(make_webhook),
        "key_id": lambda: within(make_key),
        "version": lambda: "1",
    }
    with served(own) as url:
        yield Target(url, {"Authorization": f"Bearer {secret}"}, make, {name: one() for name, one in make.items()})
    engine.dispose()
    print(f"{asked.total()} requests to {len(asked)} operations under {len(CHECKS)} checks")


def make_job(engine: Engine, storage: Storage) -> str:
    """One that has succeeded."""
    lease = claim(engine, queued(engine))
    train(engine, lease, range(1, 3))
    succeed(engine, storage, lease)
    return lease.job_id


def make_upload(session: Session) -> str:
    upload = uploads.create(session, filename=None, media_type="x/y")
    uploads.complete(session, upload.id, size=1, sha256="0" * 64)
    return upload.id


def make_webhook(session: Session) -> str:
    # A project has a few at most.
    session.execute(delete(Webhook))
    return webhooks.create(session, url="https://hooks.example.org/", events=[], description=None).id


def make_key(session: Session) -> str:
    return keys.create(session, project_id="default", name="other", scope=Scope.READ).key.id


NAMES = {
    "/jobs": "student.safetensors",
    "/teachers": "a-teacher",
    "/datasets": "a-dataset",
    "/architectures": "cifar/resnet20",
    "/recipes": recipes.names()[0],
}


def name_real_things(case: Any, target: Target) -> None:
    """Has a path that might name anything name what there is: to a random id all answers are alike."""
    for name in case.path_parameters:
        if name == "name":
            case.path_parameters[name] = quote(NAMES["/" + case.operation.path.split("/")[1]], safe="/")
            continue
        # A stream of events ends only with its job, and little may be done to a job that has ended.
        waits = name == "job_id" and case.method in ("POST", "PATCH") and "{name}" not in case.operation.path
        made = "waiting" if waits else name
        case.path_parameters[name] = target.made[made]
        if case.method == "DELETE":
            target.made[made] = target.make[made]()


@schema.parametrize()
@settings(
    max_examples=6,
    deadline=timedelta(seconds=60),
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_request_makes_the_service_fail(case: Any, target: Target) -> None:
    named = case.operation.definition.raw["operationId"]
    drawn[named] += 1
    if named in LARGE and drawn[named] % 10:
        return
    path = case.meta.components.get(ParameterLocation.PATH)
    if asked[named] % 2 and path is not None and path.mode is GenerationMode.POSITIVE:
        name_real_things(case, target)
    asked[named] += 1
    case.call_and_validate(base_url=target.url, headers=target.headers, checks=CHECKS, timeout=60)


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
