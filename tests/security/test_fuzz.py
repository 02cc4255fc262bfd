"""Fuzz tests: random requests to every operation of the OpenAPI document, and random input to parsers. No request causes a
server error, and every response conforms to the document.
"""

import os
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

from api.auth.credentials import links
from api.http.conditional_requests import FullContent, PartialContent, RangeNotSatisfiable, Unchanged, select
from api.http.pagination import decode_cursor, decode_time_cursor
from api.http.problems import FieldErrors
from api.registry.references import parse_reference
from tests.api.conftest import make_settings
from tests.conftest import THOROUGH
from tests.support.api_server import served
from tests.support.factories import queued
from tests.support.openapi import committed
from tests.support.runs import claim, succeed, train
from tests.support.studies import create_study
from ttm_core.spec import recipes
from ttm_jobs.database.engine import create_engine, session_scope
from ttm_jobs.errors import UriNotAllowed
from ttm_jobs.models import Scope, Webhook
from ttm_jobs.repositories import registry, uploads
from ttm_jobs.repositories.access import keys, projects
from ttm_jobs.repositories.measuring import requests
from ttm_jobs.repositories.studies import crud as studies
from ttm_jobs.repositories.webhooks import crud as webhook_crud
from ttm_jobs.repositories.webhooks import deliveries as webhook_deliveries
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
# tus requires 412 for an unsupported protocol version.
ERROR_STATUSES = [400, 401, 403, 404, 412, 413, 415, 422]
CONFIG = schemathesis.Config.from_dict(
    {
        "checks": {"negative_data_rejection": {"expected-statuses": ERROR_STATUSES}},
        # Generating the boundary values of all fields takes six seconds in each process that collects this module.
        "phases": {"coverage": {"enabled": THOROUGH in os.environ}},
    }
)
# The event stream of a project has no end, so its response cannot be read; tests/api/test_project_events.py covers it.
schema = schemathesis.openapi.from_dict(committed(), config=CONFIG).exclude(operation_id="events_stream")


@dataclass(frozen=True)
class Target:
    """A service, a key for it, and the resources in paths: how to create one, and the current one, by path parameter."""

    url: str
    headers: dict[str, str]
    create: Mapping[str, Callable[[], str]]
    created: dict[str, str]


# Requests sent and requests generated, by operation. docs/security.md states the totals.
sent: Counter[str] = Counter()
drawn: Counter[str] = Counter()
# The bounds of all fields of a spec give thousands of bodies. Every tenth of these is sent.
LARGE = frozenset({"jobs_create", "jobs_validate", "studies_create", "studies_validate"})


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

    def in_session(create: Callable[[Session], str]) -> str:
        with session_scope(engine) as session:
            return create(session)

    create = {
        "job_id": lambda: create_job(engine, build_storage(own.storage_url)),
        "queued": lambda: queued(engine),
        "study_id": lambda: ended_study(engine),
        "running_study": lambda: create_study(engine),
        "upload_id": lambda: in_session(create_upload),
        "webhook_id": lambda: in_session(create_webhook),
        "delivery_id": lambda: in_session(create_delivery),
        "key_id": lambda: in_session(create_key),
        "version": lambda: "1",
        "page": lambda: "jobs",
        "device": lambda: "pi5",
        "request_id": lambda: in_session(create_request),
        "filename": lambda: "teacher.safetensors",
        "project": lambda: in_session(lambda session: projects.ensure(session, "vision").id),
    }
    with served(own) as url:
        yield Target(url, {"Authorization": f"Bearer {secret}"}, create, {name: one() for name, one in create.items()})
    engine.dispose()
    print(f"{sent.total()} requests to {len(sent)} operations under {len(CHECKS)} checks")


def create_job(engine: Engine, storage: Storage) -> str:
    """A succeeded job."""
    lease = claim(engine, queued(engine))
    train(engine, lease, range(1, 3))
    succeed(engine, storage, lease)
    return lease.job_id


def ended_study(engine: Engine) -> str:
    """A cancelled study."""
    study_id = create_study(engine)
    with session_scope(engine) as session:
        studies.request_cancel(session, study_id)
    return study_id


def create_upload(session: Session) -> str:
    upload = uploads.create(session, filename=None, media_type="x/y")
    uploads.complete(session, upload.id, size=1, sha256="0" * 64)
    return upload.id


def create_webhook(session: Session) -> str:
    # The number of webhooks per project is limited.
    session.execute(delete(Webhook))
    return webhook_crud.create(session, url="https://hooks.example.org/", events=[], description=None).id


def create_delivery(session: Session) -> str:
    """A delivery of the webhook, which exists."""
    (webhook,) = webhook_crud.list_all(session)
    return webhook_deliveries.ping(session, webhook.id).id


def create_request(session: Session) -> str:
    return requests.request(session, device="pi5", key="uploads/x", sha256="0" * 64, size=1).id


def create_key(session: Session) -> str:
    return keys.create(session, project_id="default", name="other", scope=Scope.READ).key.id


NAMES = {
    "/views": "nightly",
    "/jobs": "student.safetensors",
    "/teachers": "a-teacher",
    "/datasets": "a-dataset",
    "/architectures": "cifar/resnet20",
    "/recipes": recipes.names()[0],
}


def use_existing_resources(case: Any, target: Target) -> None:
    """Replaces the path parameters by those of existing resources, because every random id gives 404."""
    for name in case.path_parameters:
        if name == "name":
            case.path_parameters[name] = quote(NAMES["/" + case.operation.path.split("/")[1]], safe="/")
            continue
        if name == "number":
            case.path_parameters[name] = 0
            continue
        # Actions need a job or study that has not ended. Everything else uses one whose event stream ends.
        active = case.method in ("POST", "PATCH") and "{name}" not in case.operation.path
        resource = {"job_id": "queued", "study_id": "running_study"}.get(name, name) if active else name
        case.path_parameters[name] = target.created[resource]
        if case.method == "DELETE":
            target.created[resource] = target.create[resource]()


@schema.parametrize()
@settings(
    max_examples=6,
    deadline=timedelta(seconds=60),
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_responses_conform_to_the_openapi_document(case: Any, target: Target) -> None:
    operation = case.operation.definition.raw["operationId"]
    drawn[operation] += 1
    if operation in LARGE and THOROUGH in os.environ and drawn[operation] % 10:
        return
    path = case.meta.components.get(ParameterLocation.PATH)
    if sent[operation] % 2 and path is not None and path.mode is GenerationMode.POSITIVE:
        use_existing_resources(case, target)
    sent[operation] += 1
    case.call_and_validate(base_url=target.url, headers=target.headers, checks=CHECKS, timeout=60)


@given(st.text(max_size=80), st.text(max_size=20), st.integers(0, 10_000))
@settings(deadline=None, max_examples=200)
def test_any_range_header_selects_a_part_or_the_whole_file(value: str, condition: str, size: int) -> None:
    raw = [(b"range", value.encode()), (b"if-range", condition.encode())]
    with suppress(RangeNotSatisfiable):
        match select(Headers(raw=raw), etag='"x"', size=size):
            case PartialContent(start=start, end=end):
                assert 0 <= start < end <= size
            case FullContent() | Unchanged():
                pass


@given(st.from_regex(r"bytes=[0-9]{0,20}-[0-9]{0,20}", fullmatch=True), st.integers(0, 10_000))
@settings(deadline=None, max_examples=200)
def test_well_formed_ranges_stay_inside_the_file(value: str, size: int) -> None:
    test_any_range_header_selects_a_part_or_the_whole_file.hypothesis.inner_test(value, '"x"', size)


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=200)
def test_random_queries_are_not_signed_links(query: bytes) -> None:
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
def test_uris_are_rejected_or_parsed_unambiguously(address: str) -> None:
    assert parse_reference(address) is None or ":" in address
    try:
        uri = parse_uri(address)
    except UriNotAllowed:
        return
    assert address.isprintable()
    if isinstance(uri, HttpUri):
        # The parsed host equals the host that other URL parsers see.
        parts = urlsplit(address)
        assert (parts.hostname, parts.username) == (uri.host.strip("[]"), None)
        assert (parts.port or {"http": 80, "https": 443}[uri.scheme]) == uri.port
        assert parse_uri(uri.url) == replace(uri, sha256=None)


@given(st.ip_addresses())
@settings(deadline=None, max_examples=300)
def test_embedded_ipv4_addresses_are_not_more_public(address: Any) -> None:
    public = is_public(str(address))
    assert not public or address.is_global
    if address.version == 4:
        for written in (f"::ffff:{address}", f"64:ff9b::{address}"):
            assert is_public(written) == public


@given(st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9_-]{0,80}", fullmatch=True))
@settings(deadline=None, max_examples=300)
def test_random_text_is_not_a_cursor(text: str) -> None:
    with pytest.raises(FieldErrors):
        decode_cursor("jobs", text, decode_time_cursor)
