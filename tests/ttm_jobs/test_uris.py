from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttm_jobs.errors import UriNotAllowed
from ttm_jobs.uris import (
    BucketUri,
    FileUri,
    HfDatasetUri,
    HfUri,
    HttpUri,
    JobUri,
    TimmUri,
    UploadUri,
    check_bucket,
    check_origin,
    local_path,
    parse_origin,
    parse_uri,
)

ID = "01a208f9-4f21-7689-b112-a58ab3238037"


@pytest.mark.parametrize(
    ("uri", "parsed"),
    [
        (f"upload:{ID}", UploadUri(ID)),
        (f"job:{ID}", JobUri(ID)),
        ("file:///data/pets", FileUri("/data/pets")),
        ("file:///data/my%20pets/ä", FileUri("/data/my pets/ä")),
        ("https://example.com/data.tar", HttpUri("https", "example.com", 443, "/data.tar", None)),
        ("https://example.com:443", HttpUri("https", "example.com", 443, "/", None)),
        (
            "http://10.0.0.5:8080/a%20b?x=%2B&y#sha256=" + 64 * "a",
            HttpUri("http", "10.0.0.5", 8080, "/a%20b?x=%2B&y", 64 * "a"),
        ),
        ("https://[2001:db8::1]:8443/x", HttpUri("https", "[2001:db8::1]", 8443, "/x", None)),
        ("s3://my.bucket/a folder/key", BucketUri("s3", "my.bucket", "a folder/key")),
        ("s3://bucket/", BucketUri("s3", "bucket", "")),
        ("gs://pets_2.example.org/train/", BucketUri("gs", "pets_2.example.org", "train/")),
        ("az://my-pets/train/1.png", BucketUri("az", "my-pets", "train/1.png")),
        ("timm:resnet50.a1_in1k", TimmUri("resnet50.a1_in1k")),
        ("hf:timm/resnet50.a1_in1k", HfUri("timm/resnet50.a1_in1k", None)),
        ("hf://datasets/a/pets", HfDatasetUri("a/pets", None, "")),
        ("hf://datasets/a/pets@v1.0/data/", HfDatasetUri("a/pets", "v1.0", "data/")),
        ("hf://datasets/a/pets/data/train.parquet", HfDatasetUri("a/pets", None, "data/train.parquet")),
        ("hf:a-b/C_d@main", HfUri("a-b/C_d", "main")),
        ("hf:a/b@0123456789012345678901234567890123456789", HfUri("a/b", "0123456789012345678901234567890123456789")),
    ],
)
def test_valid_uris_are_parsed(uri: str, parsed: object) -> None:
    assert parse_uri(uri) == parsed


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "/data/pets",
        "data/pets",
        "upload:",
        "upload:../../etc/passwd",
        f"upload:{ID}/x",
        f"upload:{ID}\n",
        f"upload://{ID}",
        f"UPLOAD:{ID}",
        f"upload:{ID.upper()}",
        f"job:{ID}?x=1",
        "hf://datasets/x",
        "hf://models/a/pets",
        "hf://a/pets",
        "hf://datasets/../pets",
        "hf://datasets/a/..",
        "hf://datasets/a/pets@",
        "hf://datasets/a/pets@../x",
        "hf://datasets/a/pets@refs/pr/1@x",
        "hf://datasets/a/pets/../../x",
        "hf://datasets/a/pets//x",
        "hf://datasets/a/pets/%2e%2e/x",
        "hf://datasets/a/pets?x",
        "hf://datasets/" + 95 * "a" + "/bc",
        "hf:",
        "hf:pets",
        "hf:../pets",
        "hf:someone/..",
        "hf:someone/../pets",
        "hf:someone/a..b",
        "hf:someone/.pets",
        "hf:someone//pets",
        "hf:datasets/someone/pets",
        "hf:someone/pets@",
        "hf:someone/pets@../main",
        "hf:someone/pets@refs/pr/1",
        "hf:someone/pets?x",
        "hf:someone/pets#x",
        "hf:someone/pets\n",
        "hf:" + 95 * "a" + "/b",
        "pipe:cat /etc/passwd",
        "file:/data",
        "file:data",
        "file://data/pets",
        "file://localhost/data",
        "file://user@/data",
        "file:///data/pets?x=1",
        "file:///data/pets#x",
        "file:///data/pets::http://example.com",
        "zip::file:///data/pets.zip",
        "simplecache::file:///data",
        "file:///data\\pets",
        "file:///data/%00",
        "file:///data/%ff",
        "file:///data/\x00",
        "file:///data\n",
        "FILE:///data",
        " file:///data",
        "file:///etc%2Fpasswd",
        "file:///data%5c..%5cx",
        "file:///data/%0a",
        "file:///data/%7f",
        "file:///data/100%",
        "https://",
        "https:///x",
        "https://user@example.com/x",
        "https://user:secret@example.com/x",
        "https://example.com\\@evil.example/x",
        "https://example.com:0/x",
        "https://example.com:65536/x",
        "https://example.com:x/x",
        "https://EXAMPLE.com/x",
        "HTTPS://example.com/x",
        "https://exa mple.com/x",
        "https://example.com/a b",
        "https://example.com/a\n",
        "https://example.com/%0d%0aHost:evil",
        "https://example.com/a%2fb",
        "https://example.com/%2",
        "https://example.com/x::file:///etc/passwd",
        "https://example.com/x#part",
        "https://example.com/x#sha256=abc",
        "https://example..com/x",
        "https://.example.com/x",
        "https://example.com./x",
        "https://-example.com/x",
        "https://2130706433/x",
        "https://0x7f000001/x",
        "https://0x7f.1/x",
        "https://0177.0.0.1/x",
        "https://127.1/x",
        "https://127.0.0.1./x",
        "https://[::ffff:7f00:1/x",
        "https://[0:0:0:0:0:0:0:1]/x",
        "https://[fe80::1%25eth0]/x",
        "https://①②⑦.0.0.1/x",
        "s3://bucket",
        "s3://Bucket/x",
        "s3://b/x",
        "s3://bucket/../x",
        "s3://bucket/a//b",
        "s3://bucket/a/./b",
        "s3://bucket/a%2fb",
        "s3://bucket/a?versionId=1",
        "s3://key:secret@bucket/x",
        "s3://bucket/x::file:///etc/passwd",
        "s3a://bucket/x",
        "s3://my_bucket/x",
        "gs://bucket",
        "gs://Bucket/x",
        "gs://bucket/../x",
        "gs://user@bucket/x",
        "gcs://bucket/x",
        "az://container",
        "az://my_container/x",
        "az://my--container/x",
        "az://container-/x",
        "az://c/x",
        "az://container/a/../b",
        "az://container@account.blob.core.windows.net/x",
        "abfs://container/x",
        "timm:",
        "timm:../x",
        "timm:hf-hub:x/y",
        "timm:resnet50/x",
    ],
)
def test_invalid_uris_are_rejected(uri: str) -> None:
    with pytest.raises(UriNotAllowed):
        parse_uri(uri)


@given(st.text(max_size=80))
def test_any_text_is_parsed_or_rejected(text: str) -> None:
    for uri in (text, f"file:///{text}", f"upload:{text}"):
        try:
            parsed = parse_uri(uri)
        except UriNotAllowed:
            continue
        if isinstance(parsed, FileUri):
            assert parsed.path.startswith("/")
            assert "\x00" not in parsed.path
        if isinstance(parsed, HttpUri):
            assert parse_uri(parsed.url) == replace(parsed, sha256=None)


@given(st.from_regex(r"https?://[a-z0-9.\[\]:@%x-]{1,20}/?[a-z%./:?]{0,12}", fullmatch=True))
def test_host_matches_another_parser(text: str) -> None:
    try:
        parsed = parse_uri(text)
    except UriNotAllowed:
        return
    assert isinstance(parsed, HttpUri)
    assert urlsplit(text).netloc.removesuffix(f":{parsed.port}") == parsed.host


def test_only_allowed_origins_and_buckets_are_accepted() -> None:
    allowed = ("https://example.com", "http://10.0.0.5:8080")
    for uri in ("https://example.com/x", "https://example.com:443/x", "http://10.0.0.5:8080/x"):
        parsed = parse_uri(uri)
        assert isinstance(parsed, HttpUri)
        check_origin(parsed, allowed)
    for uri in ("http://example.com/x", "https://example.com:8443/x", "https://sub.example.com/x", "http://10.0.0.5/x"):
        parsed = parse_uri(uri)
        assert isinstance(parsed, HttpUri)
        with pytest.raises(UriNotAllowed):
            check_origin(parsed, allowed)
    check_bucket(BucketUri("s3", "pets", "x"), ["pets"])
    check_bucket(BucketUri("gs", "pets", "x"), ["gs://pets"])
    check_bucket(BucketUri("az", "pets", "x"), ["az://pets"])
    for scheme, bucket, listed in [
        ("s3", "pet", "pets"),
        ("gs", "pets", "pets"),
        ("az", "pets", "gs://pets"),
        ("s3", "pets", "gs://pets"),
    ]:
        with pytest.raises(UriNotAllowed):
            check_bucket(BucketUri(scheme, bucket, "x"), [listed])


@pytest.mark.parametrize(
    "text", ["example.com", "https://example.com/x", "https://example.com?x", "ftp://example.com", "https://*"]
)
def test_invalid_origins_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="is not https://HOST"):
        parse_origin(text)


def test_paths_outside_the_data_roots_are_rejected(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "root-not"
    (root / "pets").mkdir(parents=True)
    outside.mkdir()
    (root / "way-out").symlink_to(outside)
    (root / "way-in").symlink_to(root / "pets")
    (root / "loop").symlink_to(root / "loop")
    assert local_path(FileUri(str(root / "pets")), [root]) == root / "pets"
    assert local_path(FileUri(str(root)), [root]) == root
    assert local_path(FileUri(str(root / "way-in")), [root]) == root / "pets"
    assert local_path(FileUri(f"{root}/pets/../pets"), [root]) == root / "pets"
    refused = [outside, root / "way-out", root / "loop", root / "absent", tmp_path / "absent", Path("/etc/passwd")]
    messages = set()
    for path in [*map(str, refused), f"{root}/../root-not"]:
        with pytest.raises(UriNotAllowed) as raised:
            local_path(FileUri(path), [root])
        messages.add(raised.value.message)
    # A path outside the roots gives the same error as a missing path.
    assert len(messages) == 1
    with pytest.raises(UriNotAllowed):
        local_path(FileUri(str(root)), [])


def test_data_root_can_be_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "real" / "pets").mkdir(parents=True)
    (tmp_path / "root").symlink_to(tmp_path / "real")
    assert local_path(FileUri(f"{tmp_path}/root/pets"), [tmp_path / "root"]) == tmp_path / "real" / "pets"
