"""`prong vote`: the same task several times, with every option of `prong run`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prong.harness.cli.launching import command_like, fail, note, opened, schema_of, tell_offline, usd_text

if TYPE_CHECKING:
    from prong.harness.patterns.voting import Vote
    from prong.harness.repository.repository import Repository
    from prong.harness.swarms import Options

_TEXT = """Give the same task to several agents, and take the answer on which they agree.

By majority: more than half of them.  By a judge: another agent chooses the best of the different answers.  Unanimous:
all must agree.  When the outcome is decided the rest is cancelled.  It ends with 0 where there is an answer, and with 1
where there is none.
"""


def vote_like(run: click.Command) -> click.Command:
    """The command `vote` with the options of `run`."""
    epilog = "Example: prong vote --offline -n 3 --choices yes,no 'Is every function here tested?'"
    return command_like(run, "vote", own=_own(), work=_work, text=_TEXT, epilog=epilog)


def _own() -> list[click.Parameter]:
    return [
        click.Argument(["prompt"]),
        click.Option(
            ["-n", "--votes"], type=click.IntRange(1, 100), default=5, show_default=True, help="How many answer."
        ),
        click.Option(
            ["--by"], type=click.Choice(["majority", "judge", "unanimous"]), default="majority", show_default=True,
            help="How it is decided.",
        ),
        click.Option(["--choices"], help="The only answers that count, such as yes,no,unsure."),
        click.Option(
            ["--schema"], type=click.Path(exists=True, dir_okay=False, path_type=Path), callback=schema_of,
            help="Answers must fit the JSON schema in this file; equal is what is equal as JSON.",
        ),
        click.Option(["--judge"], help="With --by judge: what the judge is asked, with {prompt} and {answers} in it."),
        click.Option(["--again"], is_flag=True, help="Vote anew, whatever was answered before."),
    ]  # fmt: skip


def _work(
    ctx: click.Context, *, prompt: str, votes: int, by: str, choices: str | None, schema: Any, judge: str | None,
    role: str, again: bool, as_json: bool,
) -> Callable[..., None]:  # fmt: skip
    answers = [one.strip() for one in (choices or "").split(",") if one.strip()]
    if choices is not None and (len(answers) < 2 or schema is not None):  # noqa: PLR2004  one is no choice
        raise click.UsageError("--choices takes two answers or more, such as yes,no, and no --schema beside it", ctx)
    if judge is not None and by != "judge":
        raise click.UsageError("--judge belongs to --by judge", ctx)

    def launch(repository: Repository, options: Options, base: str, key: str | None) -> None:
        from prong.harness.patterns.mapping import digest  # noqa: PLC0415  only this command needs it

        said = json.dumps([prompt, votes, by, answers, schema, judge, role, options.model])
        name = f"vote {digest(said, length=8)}"
        with opened(repository, options, base, key, name=name, again=again, progress=None) as (swarm, known):
            if not as_json:
                tell_offline(options)
            if known:
                note(f"going on with swarm {swarm.id}: what was answered there counts (--again votes anew)")
            vote = swarm.vote(
                prompt, votes, by=by, judge=judge, schema=schema, choices=answers or None, role=role  # type: ignore[arg-type]  # a click.Choice
            )  # fmt: skip
        _show(vote, votes, as_json=as_json)
        if not vote.decided:
            fail(f"it is not decided: {vote.why}. See what they said with: prong tasks {swarm.id}", code=1)

    return launch


def _show(vote: Vote, votes: int, *, as_json: bool) -> None:
    from prong.harness.cli.display import printable  # noqa: PLC0415  as in every command
    from prong.harness.patterns.mapping import text_of  # noqa: PLC0415  as above

    if as_json:
        click.echo(json.dumps(vote.as_json()))
        return
    if vote.decided:
        click.echo("\n".join(map(printable, text_of(vote.answer).splitlines())))
    for answer, count in vote.tally:
        short = " ".join(text_of(answer).split())
        note(printable(f"{count:>3} of {votes}  {short if len(short) <= 90 else short[:89] + '…'}"))  # noqa: PLR2004  a line
    said = f"{vote.why}; agreement {vote.agreement:.0%}"
    if vote.failed:
        said += f"; {vote.failed} failed"
    if vote.saved:
        said += f"; {vote.saved} cancelled, since it was decided"
    note(said)
    note(
        f"{vote.tokens:,} tokens, {usd_text(vote.usd)}; of these the votes beside the first cost"
        f" {vote.extra_tokens:,} tokens, {usd_text(vote.extra_usd)}"
    )
