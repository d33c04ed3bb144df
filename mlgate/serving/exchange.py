"""One request sent, one answer read, both bounded."""

import http.client
import time
from typing import Final

from mlgate.serving.recorded import Answer, Request

LARGEST_ANSWER: Final = 64 << 20  # bytes
_HOST: Final = "127.0.0.1"


class NoAnswer(Exception):
    """The server did not answer: refused, hung up, too slow, or too long. Says which."""


def send(request: Request, port: int, *, timeout: float = 30.0, host: str = _HOST) -> Answer:
    """The answer to one request over a connection of its own. Raises `NoAnswer`.

    `timeout`: seconds for each read; an answer of more than 64 MiB is none.
    """
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    started = time.perf_counter()
    try:
        connection.request(request.method, request.path, request.body, dict(request.headers))
        response = connection.getresponse()
        body = response.read(LARGEST_ANSWER + 1)
        took = time.perf_counter() - started
        headers = {name.lower(): value for name, value in response.getheaders()}
    except TimeoutError:
        raise NoAnswer(f"no answer within {timeout:g}s") from None
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(str(error) or type(error).__name__) from None
    finally:
        connection.close()
    if len(body) > LARGEST_ANSWER:
        raise NoAnswer(f"the answer is longer than {LARGEST_ANSWER >> 20} MiB")
    return Answer(response.status, headers, body, took)
