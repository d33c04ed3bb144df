"""A Docker Engine, through the docker SDK: from API 1.41 to today's, either image store.

What an engine says of an image depends on its store: the id is the config's digest in one and the
manifest's in the other, and the sizes differ tenfold. So nothing here is believed but the bytes
that `save` hands out; digests and sizes are computed from them.

Needs the docker SDK (`mlgate[slim]`): whoever imports this says so when it is missing.
"""

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import docker
import docker.errors
import requests.exceptions
import urllib3.exceptions

from mlgate.errors import StageError
from mlgate.files import cannot_write

_CHUNK: Final = 1 << 20
_START: Final = (
    "start one, or give an image that needs none: oci:FOLDER, docker-archive:FILE "
    "(docker save, buildah push, skopeo copy make them)"
)


class NoEngine(StageError):
    """No Docker Engine answers."""


def connect(timeout: float = 600.0) -> Any:
    """A client of the engine that DOCKER_HOST names, at a version that both speak.

    Raises `NoEngine`.
    """
    where = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if where.startswith("unix://") and not _answers(where.removeprefix("unix://")):
        raise NoEngine(f"no Docker Engine answers at {where}", hint=_START)
    try:
        client = docker.DockerClient.from_env(version="auto", timeout=timeout)
    except docker.errors.DockerException as error:
        raise NoEngine(
            f"no Docker Engine answers at {where}: {_short(error)}", hint=_START
        ) from None
    return client


@contextlib.contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """What the engine, or the way to it, says went wrong, as a `StageError`."""
    ways = (
        docker.errors.DockerException,
        requests.exceptions.RequestException,
        urllib3.exceptions.HTTPError,
    )
    try:
        yield
    except ways as error:
        words = _short(error)
        hint = None
        if "no space left" in words.lower():
            hint = "the engine's disk is full: docker system df says what takes the room"
        elif isinstance(error, requests.exceptions.RequestException):
            hint = "did the engine stop? Its log says why; run again when it answers"
        raise StageError(f"the engine could not {doing}: {words}", hint=hint) from None


def save(client: Any, name: str, to: Path) -> None:
    """The image's archive, as `docker save` writes it. Raises `StageError`."""
    with engine_errors(f"save {name}"):
        try:
            image = client.images.get(name)
        except docker.errors.ImageNotFound:
            raise StageError(
                f"the engine has no image {name}", hint="docker images lists those that it has"
            ) from None
        named = name if _has_tag(name) else True
        try:
            stream = image.save(chunk_size=_CHUNK, named=named)
        except docker.errors.InvalidArgument:  # a name by digest, or an abbreviated id
            stream = image.save(chunk_size=_CHUNK)
        try:
            with to.open("wb") as file:
                for chunk in stream:
                    file.write(chunk)
        except OSError as error:
            to.unlink(missing_ok=True)
            raise cannot_write(to, error) from None


def load(client: Any, archive: Path, tag: str) -> None:
    """Loads a docker-archive whose image is called `tag`. Raises `StageError`.

    The engine streams news; a message without `total`, `current` or `id` is no error.
    """
    with engine_errors(f"load {tag}"), archive.open("rb") as file:
        for message in client.api.load_image(file, quiet=False) or ():
            if isinstance(message, dict) and message.get("error"):
                raise StageError(f"the engine could not load {tag}: {message['error']}")


def remove(client: Any, tag: str) -> None:
    """Takes the image away, if it is there."""
    with contextlib.suppress(docker.errors.DockerException, OSError):
        client.images.remove(tag, force=True)


def version(client: Any) -> str:
    """The engine's version and the API version that was agreed on."""
    with engine_errors("tell its version"):
        about = client.version()
    return f"{about.get('Version', 'unknown')} (API {client.api._version})"


def _answers(path: str) -> bool:
    """Whether somebody listens: the SDK leaves its socket open when nobody does."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def _has_tag(name: str) -> bool:
    return re.fullmatch(r"[^@]*:[A-Za-z0-9_][\w.-]*", name) is not None and "@" not in name


def _short(error: Exception) -> str:
    explanation = getattr(error, "explanation", None)
    return " ".join(str(explanation or error).split())[:300]
