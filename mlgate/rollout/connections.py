"""The world over HTTP: inference on an arm, a webhook for people, the alias in MLflow."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from pydantic import Field, JsonValue

from mlgate.errors import MlgateError
from mlgate.evidence import Frozen
from mlgate.stage import EnvironmentName

_TIMEOUT: Final = 10.0
_LARGEST: Final = 2**20
_URL: Final = r"^https?://[^\s]+$"


class ProbeOptions(Frozen):
    """One recorded request, and where each arm answers it directly, past the router."""

    stable: str = Field(pattern=_URL, description="URL of stable's own server.")
    canary: str = Field(pattern=_URL, description="URL of the canary's own server.")
    body: str = Field(description="File with the body of the request.")
    content_type: str = Field("application/json", description="Media type of the body.")


class MlflowOptions(Frozen):
    """The registered model whose alias `champion` moves."""

    url: str = Field(pattern=_URL, description="The tracking server.")
    model: str = Field(min_length=1, description="Name of the registered model.")
    version: str = Field(pattern=r"^\d+$", description="Version that becomes champion.")
    token: EnvironmentName | None = Field(None, description="Variable that holds a token.")


class HttpProbe:
    """Sends the recorded request to one arm."""

    def __init__(self, options: ProbeOptions, root: Path) -> None:
        self._options = options
        try:
            self._body = (root / options.body).read_bytes()
        except OSError as error:
            raise MlgateError(f"{options.body} cannot be read: {error.strerror}") from None

    def infer(self, arm: str) -> str | None:
        """What is wrong with the arm's answer, or None."""
        url = self._options.canary if arm == "canary" else self._options.stable
        headers = {"content-type": self._options.content_type}
        try:
            answer = _send("POST", url, self._body, headers)
        except OSError as error:
            return _why(error)
        return None if answer else "an empty answer"


class Webhooks:
    """Posts JSON to each address. An address is a secret: no message holds it."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        """`urls` by the name of the variable that holds them."""
        self._urls = dict(urls)

    def tell(self, news: Mapping[str, JsonValue]) -> str | None:
        """What went wrong, or None."""
        body = json.dumps(dict(news)).encode()
        wrong = []
        for name, url in sorted(self._urls.items()):
            if urlsplit(url).scheme not in ("http", "https"):
                wrong.append(f"{name}: not an address")
                continue
            try:
                _send("POST", url, body, {"content-type": "application/json"})
            except OSError as error:
                wrong.append(f"{name}: {_why(error)}")
        return "; ".join(wrong) or None


class NoRegistry:
    """There is no registry: nothing to move."""

    def promote(self) -> None:
        """Do nothing."""


class Mlflow:
    """The alias `champion` of a registered model, over MLflow's REST interface (2.0)."""

    def __init__(self, options: MlflowOptions, token: str | None) -> None:
        self._options = options
        self._headers = {"content-type": "application/json"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"

    def promote(self) -> None:
        """Previous champion first, so that a crash between the two loses neither."""
        now = self._version("champion")
        if now == self._options.version:
            return
        if now is not None:
            self._point("previous_champion", now)
        self._point("champion", self._options.version)
        if self._version("champion") != self._options.version:
            raise MlgateError("MLflow acknowledged the alias champion and has another version")

    def _version(self, alias: str) -> str | None:
        name, wanted = quote(self._options.model, safe=""), quote(alias, safe="")
        answer = self._ask("GET", f"alias?name={name}&alias={wanted}", None)
        return None if answer is None else str(answer["model_version"]["version"])

    def _point(self, alias: str, version: str) -> None:
        body = {"name": self._options.model, "alias": alias, "version": version}
        if self._ask("POST", "alias", body) is None:
            raise MlgateError(f"MLflow has no registered model {self._options.model}")

    def _ask(self, method: str, path: str, body: Mapping[str, str] | None) -> Any:
        """The answer; None where there is no such thing. Raises `MlgateError`."""
        url = f"{self._options.url.rstrip('/')}/api/2.0/mlflow/registered-models/{path}"
        data = None if body is None else json.dumps(body).encode()
        try:
            return json.loads(_send(method, url, data, self._headers) or b"{}")
        except urllib.error.HTTPError as error:
            # A name that is not set is 404, or 400 with INVALID_PARAMETER_VALUE in older servers.
            if error.code == 404 or (method == "GET" and error.code == 400):
                return None
            raise MlgateError(f"MLflow answered {error.code} for {method} {path}") from None
        except (OSError, ValueError) as error:
            raise MlgateError(f"MLflow does not answer: {_why(error)}") from None


def _send(method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> bytes:
    request = urllib.request.Request(url, body, dict(headers), method=method)  # noqa: S310 (each caller allows http alone)
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310
        answer: bytes = response.read(_LARGEST)
    return answer


def _why(error: Exception) -> str:
    """An error without its address, which may be a secret."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    if isinstance(error, urllib.error.URLError):
        return str(getattr(error.reason, "strerror", None) or type(error.reason).__name__)
    return str(getattr(error, "strerror", None) or type(error).__name__)
