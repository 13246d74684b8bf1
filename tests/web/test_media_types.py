"""A body of the wrong media type is told which are right."""

import pytest

from tests.conftest import Client


@pytest.fixture
def database_url() -> str:
    """One kind of database: what is asked here hangs on none."""
    return "sqlite://"


JSON_ROUTES = [
    ("POST", "/api/tasks"),
    ("PATCH", "/api/tasks/1"),
    ("PUT", "/api/alice/tasks/1"),
    ("PATCH", "/api/tasks/1/complete"),
    ("POST", "/api/tasks/batch"),
]


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/",
        "é",
    ],
)
async def test_json_routes_say_what_they_read(alice: Client, content_type: str) -> None:
    """A body that says it is something else, or nothing, is a 415 that names JSON and what was sent."""
    await alice.new_task()
    for method, path in JSON_ROUTES:
        headers = [(b"Content-Type", content_type.encode())] if content_type else []
        response = await alice.request(method, path, content=b'{"title": "a"}', headers=headers)
        assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type"), path
        assert "application/json" in response.json()["detail"]
        assert content_type.encode().decode("latin-1")[:20] in response.json()["detail"].replace(
            "\\xc3\\xa9", "Ã©"
        )


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.api+json"]
)
async def test_json_has_many_names(alice: Client, content_type: str) -> None:
    """Parameters, case and a suffix make no other media type of it."""
    response = await alice.post(
        "/api/tasks", content=b'{"title": "a"}', headers={"Content-Type": content_type}
    )
    assert response.status_code == 201


async def test_what_is_json_and_wrong_is_no_matter_of_its_type(alice: Client) -> None:
    """An empty body and a broken one are 422s, whatever they say that they are."""
    for content, kind in ((b"", "text/plain"), (b"{", "application/json"), (b"[]", "application/json")):
        response = await alice.post("/api/tasks", content=content, headers={"Content-Type": kind})
        assert response.status_code == 422, (content, kind)


@pytest.mark.parametrize("content", [b"", b"{", b'{"title": "a"}', b"title\na\n"])
@pytest.mark.parametrize("content_type", ["", "application/xml", "application/octet-stream", "text/plain"])
async def test_the_import_says_what_it_reads(alice: Client, content: bytes, content_type: str) -> None:
    """A file of another type is a 415 that names those that can be read."""
    headers = {"Content-Type": content_type} if content_type else {}
    response = await alice.post("/api/tasks/import", content=content, headers=headers)
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type"), response.text
    assert "application/x-ndjson or text/csv" in response.json()["detail"]


async def test_who_asks_comes_before_what_is_sent(client: Client) -> None:
    """Without a token it is a 401."""
    for path in ("/api/tasks", "/api/tasks/import"):
        assert (
            await client.post(path, content=b"x", headers={"Content-Type": "text/plain"})
        ).status_code == 401
