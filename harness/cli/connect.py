"""`prong connect`: set an agent of another make up for Prong, in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from prong.harness.cli.places import JSON, REPO
from prong.harness.mcp import connecting
from prong.harness.mcp.connecting import KINDS, Kind, NotConnected
from prong.harness.repository.repository import Repository


@click.command(epilog="Example: prong connect claude-code")
@click.argument("client", type=click.Choice(list(KINDS)))
@REPO
@click.option("--name", help="By what name others read of this client.  [default: made up for each process]")
@click.option("--remove", "act", flag_value="remove", help="Undo it: what else stands in the file stays.")
@click.option("--print", "act", flag_value="print", help="Only print what would be written.")
@click.option("--check", "act", flag_value="check", help="Only see whether what is written works.")
@JSON
def connect(client: str, *, repo: Path, name: str | None, act: str | None, as_json: bool) -> None:
    """Let a coding agent use Prong's locks, maps, queues and tasks in this repository.

    It writes the client's own file of the project, and starts the server once to see that it works.
    """
    kind = KINDS[client]
    command = connecting.command_for(kind, name)
    if act == "print":
        text = connecting.fragment(kind, command)
        if as_json:
            _tell({"client": client, "file": kind.file, "command": command, "text": text})
        else:
            click.echo(text, nl=False)
        return
    root = Repository.open(repo).root
    told: dict[str, Any] = {"client": client, "file": str(root / kind.file)}
    before = connecting.read(root, kind)
    if act == "remove":
        rest = connecting.disconnected(before, kind)
        if rest != before:
            connecting.write(root, kind, rest)
        if as_json:
            _tell({**told, "changed": rest != before, "exists": bool(rest)})
        else:
            click.echo(f"{kind.file}: {_removed(before, rest)}")
        return
    text = before if act == "check" else connecting.connected(before, kind, command)
    if text != before:
        connecting.write(root, kind, text)
    if act is None:
        told |= {"changed": text != before, "hint": kind.hint}
        if not as_json:
            click.echo(f"{kind.file}: {'written' if text != before else 'was so already'}")
    _check(root, kind, text, told, as_json=as_json)
    if act is None and not as_json:
        click.echo(kind.hint, err=True)


def _removed(before: str, rest: str) -> str:
    if rest == before:
        return "says nothing of Prong"
    return "as it was before" if rest else "removed; it said nothing else"


def _check(root: Path, kind: Kind, text: str, told: dict[str, Any], *, as_json: bool) -> None:
    """Start what the file says, and print what came of it, behind what is `told`.  Raises `NotConnected`."""
    import anyio  # noqa: PLC0415  the protocol's library costs half a second, which --print and --help do without

    from prong.harness.mcp.trying import try_command  # noqa: PLC0415  as above

    command = connecting.command_in(text, kind)
    problem, count = None, 0
    if command is None:
        problem = NotConnected(f"{kind.file} says nothing of Prong. Write it with: prong connect {told['client']}")
    else:
        words = [word.replace(kind.here, str(root)) if kind.here else word for word in command]
        try:
            count = anyio.run(try_command, words, root)
        except NotConnected as error:
            problem = error
    if as_json:
        found = {"works": True, "tools": count} if problem is None else {"works": False, "problem": str(problem)}
        _tell({**told, "command": command, **found})
    if problem is not None:
        raise problem
    if not as_json:
        assert command is not None, "else that is the problem"
        click.echo(f"It works: {' '.join(command)} offers {count} tools.")


def _tell(told: dict[str, Any]) -> None:
    click.echo(json.dumps(told, ensure_ascii=False))
