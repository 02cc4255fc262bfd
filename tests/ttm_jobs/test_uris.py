from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttm_jobs.errors import UriNotAllowed
from ttm_jobs.uris import FileUri, JobUri, UploadUri, local_path, parse_uri

ID = "01a208f9-4f21-7689-b112-a58ab3238037"


@pytest.mark.parametrize(
    ("uri", "parsed"),
    [
        (f"upload:{ID}", UploadUri(ID)),
        (f"job:{ID}", JobUri(ID)),
        ("file:///data/pets", FileUri("/data/pets")),
        ("file:///data/my%20pets/ä", FileUri("/data/my pets/ä")),
    ],
)
def test_the_addresses_there_are(uri: str, parsed: object) -> None:
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
        "http://example.com/data.tar",
        "https://example.com/data.tar",
        "s3://bucket/data",
        "hf://datasets/x",
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
    ],
)
def test_every_other_address_is_refused(uri: str) -> None:
    with pytest.raises(UriNotAllowed):
        parse_uri(uri)


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    for uri in (text, f"file:///{text}", f"upload:{text}"):
        try:
            parsed = parse_uri(uri)
        except UriNotAllowed:
            continue
        if isinstance(parsed, FileUri):
            assert parsed.path.startswith("/")
            assert "\x00" not in parsed.path


def test_paths_stay_under_the_roots(tmp_path: Path) -> None:
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
    # What lies outside answers like what is not there.
    assert len(messages) == 1
    with pytest.raises(UriNotAllowed):
        local_path(FileUri(str(root)), [])


def test_a_root_may_itself_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real" / "pets").mkdir(parents=True)
    (tmp_path / "root").symlink_to(tmp_path / "real")
    assert local_path(FileUri(f"{tmp_path}/root/pets"), [tmp_path / "root"]) == tmp_path / "real" / "pets"
