"""`prong connect`: set an agent of another make up for Prong, in one line."""

from __future__ import annotations

from pathlib import Path

import click

from prong.harness.cli.places import REPO
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
def connect(client: str, *, repo: Path, name: str | None, act: str | None) -> None:
    """Let a coding agent use Prong's locks, maps, queues and tasks in this repository.

    It writes the client's own file of the project, and starts the server once to see that it works.
    """
    kind = KINDS[client]
    if act == "print":
        click.echo(connecting.fragment(kind, connecting.command_for(kind, name)), nl=False)
        return
    root = Repository.open(repo).root
    text = connecting.read(root, kind)
    if act == "remove":
        _remove(root, kind, text)
        return
    if act is None:
        new = connecting.connected(text, kind, connecting.command_for(kind, name))
        if new != text:
            connecting.write(root, kind, new)
        click.echo(f"{kind.file}: {'written' if new != text else 'was so already'}")
        text = new
    _check(root, kind, text, client)
    if act is None:
        click.echo(kind.hint, err=True)


def _remove(root: Path, kind: Kind, text: str) -> None:
    rest = connecting.disconnected(text, kind)
    if rest == text:
        click.echo(f"{kind.file}: says nothing of Prong")
        return
    connecting.write(root, kind, rest)
    click.echo(f"{kind.file}: {'as it was before' if rest else 'removed; it said nothing else'}")


def _check(root: Path, kind: Kind, text: str, client: str) -> None:
    import anyio  # noqa: PLC0415  the protocol's library costs half a second, which --print and --help do without

    from prong.harness.mcp.trying import try_command  # noqa: PLC0415  as above

    command = connecting.command_in(text, kind)
    if command is None:
        raise NotConnected(f"{kind.file} says nothing of Prong. Write it with: prong connect {client}")
    words = [word.replace(kind.here, str(root)) if kind.here else word for word in command]
    count = anyio.run(try_command, words, root)
    click.echo(f"It works: {' '.join(command)} offers {count} tools.")
