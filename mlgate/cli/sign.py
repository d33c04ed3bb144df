"""`mlgate sign`: bind a verdict to the bytes that were judged."""

import os
from datetime import UTC, datetime
from pathlib import Path

import click

from mlgate.cli.options import file_of, root_of
from mlgate.errors import UsageError, printable
from mlgate.files import FOLDER
from mlgate.provenance.audit_log import AuditLog
from mlgate.provenance.keys import (
    LocalKey,
    development_key,
    private_key,
    private_key_file,
)
from mlgate.run.record import folder_of
from mlgate.run.store import Store
from mlgate.run.verdict import Record
from mlgate.sign import Release, sign

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("spec", required=False, type=_PATH)
@click.option("--run", help="A run's name; default: the last one.")
@click.option("--key", type=_PATH, help="Private key, PEM, EC P-256; default: see below.")
@click.option("--key-env", metavar="NAME", help="Variable that holds the private key.")
@click.option("--passphrase-env", metavar="NAME", help="Variable that holds its passphrase.")
@click.option("--target", required=True, help="Where the release is meant to go: a URI.")
@click.option("--release", type=click.IntRange(1), help="The release's number; it must rise.")
@click.option("--no-log", is_flag=True, help="Leave the audit log, and entries in it, out.")
def command(
    spec: Path | None,
    run: str | None,
    key: Path | None,
    key_env: str | None,
    passphrase_env: str | None,
    target: str,
    release: int | None,
    no_log: bool,
) -> None:
    """Sign a finished run: what was made of what, which gates held, and the verdict.

    Without a key, this checkout's development key signs (.mlgate/keys, made on first use): fine to
    try things, and refused by mlgate verify --policy unless the policy allows it. Other people's
    tools verify what is written: docs/provenance.md shows how.
    """
    root = root_of(spec) / FOLDER
    record = Record(folder_of(root, run, file=file_of(spec)), Store(root))
    signer = _signer(root, key, key_env, passphrase_env)
    log = None if no_log else AuditLog(root / "log")
    now = datetime.now(UTC)
    made = sign(record, signer, Release(target, release), now=now, log=log)
    for name in made.files:
        click.echo(f"  {printable(name)}")
    click.echo(
        f"SIGNED  {made.subjects} subjects, by the {signer.kind} key {signer.public.hint[:12]}"
    )
    click.echo(f"  {made.folder}")


def _signer(
    root: Path, key: Path | None, key_env: str | None, passphrase_env: str | None
) -> LocalKey:
    if key is not None and key_env is not None:
        raise UsageError("give --key or --key-env, not both")
    passphrase = None if passphrase_env is None else _variable(passphrase_env)
    if key is not None:
        return private_key_file(key, passphrase)
    if key_env is not None:
        pem = _variable(key_env)
        return private_key(pem, passphrase, kind="environment", what=f"the key in {key_env}")
    return development_key(root / "keys")


def _variable(name: str) -> bytes:
    value = os.environ.get(name)
    if not value:
        raise UsageError(f"the variable {name} is not set")
    return value.encode()
