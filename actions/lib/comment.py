"""Keep one comment on a pull request up to date: `comment.py REPORT.md`.

The comment is found again by a mark that nobody sees, one per key, among those that this token's
own user wrote. Only the standard library is used.
"""

import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

# GitHub takes no more than 65,536 characters.
LIMIT = 65_000


def main(report: Path) -> int:
    key = re.sub(r"[^A-Za-z0-9_-]", "-", os.environ["MLGATE_COMMENT"])
    mark = f"<!-- mlgate:{key} -->"
    number = int(os.environ["MLGATE_PULL_REQUEST"])
    repository = f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}"
    body = {"body": f"{mark}\n{cut(report.read_text(encoding='utf-8'))}"}
    try:
        for comment in comments(f"{repository}/issues/{number}/comments"):
            own = comment["user"]["type"] == "Bot"
            if own and (comment["body"] or "").startswith(mark):
                call("PATCH", f"{repository}/issues/comments/{comment['id']}", body)
                return 0
        call("POST", f"{repository}/issues/{number}/comments", body)
    except (urllib.error.URLError, KeyError, ValueError) as error:
        # The verdict stands without it.
        sys.stdout.write(
            f"::warning title=mlgate::no comment was written: {type(error).__name__}\n"
        )
    return 0


def cut(text: str) -> str:
    """Whole lines for as long as they fit, and how many there are more."""
    lines = text.splitlines()
    used = 0
    for shown, line in enumerate(lines):
        used += len(line) + 1
        if used > LIMIT:
            rest = f"**… {len(lines) - shown:,} more lines not shown. See the full report.**"
            return "\n".join([*lines[:shown], "", rest])
    return text


def comments(url: str) -> Iterator[dict]:
    for page in range(1, 101):
        found = call("GET", f"{url}?per_page=100&page={page}")
        yield from found
        if len(found) < 100:
            return


def call(method: str, url: str, body: dict | None = None) -> list:
    request = urllib.request.Request(  # noqa: S310  # the runner's own API
        url,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {os.environ['GH_TOKEN']}",
            "Accept": "application/vnd.github+json",
            "Content-Type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  # as above
        return json.load(answer)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
