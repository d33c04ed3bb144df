"""Recorded requests: what is read, and what is refused."""

import json
from pathlib import Path

import pytest

from mlgate.errors import StageError
from mlgate.serving.recorded import read_requests


def _file(folder: Path, *lines: object) -> Path:
    path = folder / "requests.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_requests_are_read_as_written(tmp_path: Path) -> None:
    get, post, raw = read_requests(
        _file(
            tmp_path,
            "GET /openapi.json",
            {"path": "/predict", "body": {"x": [1]}, "id": "one"},
            {"path": "/raw", "body_base64": "AAE=", "headers": {"content-type": "a/b"}},
        )
    )
    assert (get.method, get.path, get.body) == ("GET", "/openapi.json", None)
    assert (post.method, post.body, str(post)) == ("POST", b'{"x": [1]}', "one")
    assert dict(post.headers) == {"Content-Type": "application/json"}
    assert (raw.body, dict(raw.headers)) == (b"\0\1", {"content-type": "a/b"})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"path": "predict"}, "begin with /"),
        ({"path": "/p", "bdy": 1}, "bdy means nothing"),
        ({"path": "/p", "body": 1, "body_base64": "AA=="}, "either"),
        ({"path": "/p", "body_base64": "?"}, "not base64"),
        ({"path": "/p", "headers": {"a": "b\r\nc: d"}}, "not one line"),
        ({"path": "/p", "method": "GET /"}, "not a method"),
        ("hello", "not a request"),
        (3, "an object"),
    ],
)
def test_what_is_not_a_request_is_refused(tmp_path: Path, line: object, words: str) -> None:
    with pytest.raises(StageError, match=words):
        read_requests(_file(tmp_path, line))


def test_no_requests_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="holds no requests"):
        read_requests(_file(tmp_path))
