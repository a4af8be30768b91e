"""Values that are too large for a row: the row holds a marker, a file named by its own hash holds the JSON text.

    value --stored--> "[1,2]"  or, over VALUE_BYTES,  "@artifact <sha256> <bytes>"  and  artifacts/<sha256>

The file is complete on the disk before the transaction that names it begins, and it never changes afterwards: a crash
leaves at most a file that nobody names, and equal values share one.  A marker is no JSON, so it is never mistaken for a
value.  The log holds the marker too, under a name of its own, so that history finds what a row once held.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from prong.primitives.errors import TooLarge
from prong.primitives.values import VALUE_BYTES
from prong.state import Invalid, Membership, ProngError, Store, StoreError

ARTIFACT_BYTES = 256 * 1024 * 1024
"""The largest value that is stored at all, in bytes of JSON."""

_MARK = "@artifact "

_decode = json.JSONDecoder().raw_decode

_compact = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class ArtifactLost(ProngError):
    """The file of a large value is gone or is not what was written (`is_gone`), or cannot be read now."""

    def __init__(self, path: str, problem: str, *, is_gone: bool = True) -> None:
        self.path = path
        self.problem = problem
        self.is_gone = is_gone

    def __str__(self) -> str:
        return (
            f"the large value in {self.path} cannot be read: {self.problem}. "
            "Restore the file from a copy of the swarm, or write the value again."
        )


def stored(source: Membership | Store, what: str, value: Any) -> str:
    """The text that a row holds for a value: its JSON, or the marker of the artifact that it was written to.

    Raises `Invalid` where JSON cannot hold the value, `TooLarge` over `ARTIFACT_BYTES`, and `StoreError` where the file
    cannot be written.  Call it before the transaction begins: it may wait for the disk.

    >>> stored(swarm, "an example", {"a": [1, None]})
    '{"a":[1,null]}'
    >>> stored(swarm, "an example", "x" * 300_000)[:20]
    '@artifact 6ceb75cea5'
    """
    try:
        text = str(value) if type(value) is int else _compact(value)
        data = text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid(f"{what} cannot be stored ({error})", "what JSON holds, text without lone surrogates") from error
    if len(data) <= VALUE_BYTES:
        return text
    if len(data) > ARTIFACT_BYTES:
        raise TooLarge(what, len(data), ARTIFACT_BYTES)
    digest = hashlib.sha256(data).hexdigest()
    store = source if isinstance(source, Store) else source.store
    _keep(store.artifacts, digest, data)
    return f"{_MARK}{digest} {len(data)}"


def loaded(source: Membership | Store, text: str) -> Any:
    """The value that `stored` made this text of; raises `ArtifactLost` where its file is missing or damaged.

    >>> loaded(swarm, '{"a":[1,null]}')
    {'a': [1, None]}
    """
    if text[0] != "@":
        return _value(text)
    store = source if isinstance(source, Store) else source.store
    digest, size = text.removeprefix(_MARK).split()
    path = store.artifacts / digest
    try:
        data = path.read_bytes()
    except OSError as error:
        is_gone = isinstance(error, FileNotFoundError)
        raise ArtifactLost(str(path), error.strerror or str(error), is_gone=is_gone) from error
    if len(data) != int(size):
        raise ArtifactLost(str(path), f"it has {len(data)} bytes instead of {size}")
    if hashlib.sha256(data).hexdigest() != digest:
        raise ArtifactLost(str(path), "its content is not what was written")
    return json.loads(data)


def logged(value: Any, text: str) -> dict[str, Any]:
    """What the log's entry of a write holds of its value: the value itself, or the marker under another name.

    >>> logged([1], "[1]")
    {'value': [1]}
    """
    return {"artifact": text} if text[0] == "@" else {"value": value}


def told(text: str) -> str:
    """What `logged` tells of the value with this text, as the text of a JSON object's member.

    >>> told("[1]")
    '"value":[1]'
    """
    return f'"artifact":"{text}"' if text[0] == "@" else f'"value":{text}'


def from_log(source: Membership | Store, data: dict[str, Any]) -> Any:
    """The value that a log's entry tells of; None where it tells of none.

    >>> from_log(swarm, {"value": [1]})
    [1]
    """
    return loaded(source, data["artifact"]) if "artifact" in data else data.get("value")


def _value(text: str) -> Any:
    """What `json.loads` makes of the text, which takes longer to begin than a small value takes altogether."""
    value, end = _decode(text)
    return value if end == len(text) else json.loads(text)


def _keep(directory: Path, digest: str, data: bytes) -> None:
    """Have the file on the disk under its name, whole or not at all."""
    path = directory / digest
    with suppress(OSError):
        if path.stat().st_size == len(data) and hashlib.sha256(path.read_bytes()).hexdigest() == digest:
            return
    try:
        directory.mkdir(exist_ok=True)
        file, temporary = tempfile.mkstemp(prefix=f".{digest[:16]}-", dir=directory)
        try:
            with open(file, "wb") as writing:  # noqa: PTH123  a descriptor, not a path
                writing.write(data)
                writing.flush()
                os.fsync(file)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync(directory)
    except OSError as error:
        advice = "Free some of the disk, or make the directory writable, and write again."
        raise StoreError(str(path), error.strerror or str(error), advice) from error


def _sync(directory: Path) -> None:
    """Have the directory's own change on the disk, the new name."""
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
