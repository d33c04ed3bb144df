"""What people order while a rollout runs: pause, continue, approve, abort. A file, line by line."""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from mlgate.errors import MlgateError
from mlgate.files import cannot_write

Command = Literal["pause", "continue", "approve", "abort"]
COMMANDS: Final = ("pause", "continue", "approve", "abort")
_LARGEST: Final = 2**20


class Orders:
    """The orders of one rollout. Whoever writes appends; the controller reads on."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def give(
        self, command: Command, who: str, why: str, at: datetime, *, freeze: bool = False
    ) -> None:
        """Append an order. Raises `StoreError`."""
        order = {"command": command, "who": who, "why": why, "at": at.isoformat()}
        if freeze:
            order["freeze"] = "yes"
        try:
            with self._path.open("ab") as file:
                file.write(json.dumps(order).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(self._path, error) from None

    def after(self, line: int) -> tuple[dict[str, Any], ...]:
        """Orders after so many lines, each with the number of its line.

        Raises `MlgateError` for a line that is no order: nothing a person said is passed over.
        """
        try:
            if self._path.stat().st_size > _LARGEST:
                raise MlgateError(f"{self._path} is too large for a list of orders")
            data = self._path.read_bytes()
        except FileNotFoundError:
            return ()
        whole = data.split(b"\n")[:-1]
        found = []
        for number, text in enumerate(whole[line:], start=line + 1):
            try:
                order = json.loads(text)
                known = order["command"] in COMMANDS and isinstance(order["who"], str)
            except (ValueError, KeyError, TypeError):
                known = False
            if not known:
                raise MlgateError(f"{self._path}:{number}: this is no order")
            found.append({**order, "line": number})
        return tuple(found)
