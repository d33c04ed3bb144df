"""Keep one comment on a pull request up to date: `comment.py REPORT.md`.

The comment is found again by a mark that nobody sees, one per key, among those that this token's
own user wrote. Only the standard library is used.
"""

import json
import os
import re
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

# GitHub takes no more than 65,536 characters.
LIMIT = 65_000


def main(report: str) -> int:
    """The verdict stands without a comment: whatever goes wrong here is one warning."""
    try:
        write(report)
    except Exception as error:  # noqa: BLE001  # a server may answer anything
        name = type(error).__name__
        sys.stdout.write(f"::warning title=mlgate::no comment was written: {name}\n")
    return 0


def write(report: str) -> None:
    key = re.sub(r"[^A-Za-z0-9_-]", "-", os.environ["MLGATE_COMMENT"])
    mark = f"<!-- mlgate:{key} -->"
    number = int(os.environ["MLGATE_PULL_REQUEST"])
    repository = f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}"
    body = {"body": f"{mark}\n{text(report)}\n\n{about()}\n"}
    for comment in comments(f"{repository}/issues/{number}/comments"):
        own = comment["user"]["type"] == "Bot"
        if own and (comment["body"] or "").startswith(mark):
            call("PATCH", f"{repository}/issues/comments/{comment['id']}", body)
            return
    call("POST", f"{repository}/issues/{number}/comments", body)


def text(report: str) -> str:
    """The report; or that there is none, so that an older one does not stand for this push."""
    if report and Path(report).is_file():
        return cut(Path(report).read_text(encoding="utf-8"))
    return "## ✗ could not be judged\n\nThis push has no verdict: see the run's log."


def about() -> str:
    """Which commit this is about, and where it was judged."""
    commit = re.sub(r"[^0-9a-f]", "", os.environ.get("MLGATE_COMMIT", ""))[:12]
    run = os.environ.get("MLGATE_RUN", "")
    return f"<sub>Commit {commit or 'unknown'} · [run]({run})</sub>"


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
    sys.exit(main(sys.argv[1]))
