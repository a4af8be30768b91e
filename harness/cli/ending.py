"""`prong diff`, `merge`, `branch`, `clean` and `report`: what a swarm has made, and what becomes of it."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from prong.harness.cli.places import JSON, REPO, SWARM
from prong.harness.repository.repository import Repository
from prong.harness.swarms import Swarm, find

if TYPE_CHECKING:
    from prong.harness.cleaning import Cleaned, Plan
    from prong.harness.repository.landing import How

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}
_HEADS = (
    "diff ",
    "index ",
    "--- ",
    "+++ ",
    "new file ",
    "deleted file ",
    "similarity ",
    "rename ",
    "old mode ",
    "new mode ",
)


@click.command(epilog="Example: prong diff --stat")
@SWARM
@click.option("--task", type=int, help="Only what this task has changed: on the branch, or so far in its workspace.")
@click.option("--stat", is_flag=True, help="Only how much each file has changed.")
@REPO
@JSON
def diff(swarm: str | None, *, task: int | None, stat: bool, repo: Path, as_json: bool) -> None:
    """Show what the swarm has changed against where it started.

    Into a pipe or a file it is a patch, byte by byte, that git apply takes.
    """
    from prong.harness import results  # noqa: PLC0415  each command imports what it needs

    found = find(Repository.open(repo), swarm)
    delta = results.of_swarm(found) if task is None else results.of_task(found, found.store(), task)
    if as_json:
        told = {"swarm": found.id, "task": task, "where": delta.where, "base": delta.base, "commit": delta.commit}
        files = [asdict(one) for one in results.files(found, delta)]
        click.echo(json.dumps({**told, "files": files}))
        return
    terminal = sys.stdout.isatty()
    shape = results.SHAPES["stat"] if stat else (*results.SHAPES["patch"], *(() if terminal else ("--binary",)))
    with tempfile.TemporaryFile() as text:
        results.show(found, delta, shape, text)
        text.seek(0)
        if terminal:
            click.echo_via_pager(f"{_coloured(line)}\n" for line in _lines(text))
        else:
            shutil.copyfileobj(text, sys.stdout.buffer)


@click.command(epilog="Example: prong merge --squash")
@SWARM
@click.option("--ff-only", is_flag=True, help="Only where your branch has not gone on since.")
@click.option("--no-ff", is_flag=True, help="A merge commit in any case.")
@click.option("--squash", is_flag=True, help="One commit with all changes.")
@click.option("--message", "-m", help="The message of the commit that is made.")
@REPO
@JSON
def merge(swarm: str | None, *, message: str | None, repo: Path, as_json: bool, **ways: bool) -> None:
    """Merge what the swarm made into the branch that you have checked out.

    A fast-forward where that goes, else a merge commit.  Nothing is ever overwritten: where you have changes in a file
    that it would change, or there is a conflict, it refuses and changes nothing.  Your hooks are not run and nothing is
    signed; for that say git merge with the swarm's branch.
    """
    from prong.harness import results  # noqa: PLC0415  as above
    from prong.harness.control import who  # noqa: PLC0415  as above
    from prong.harness.repository.landing import land  # noqa: PLC0415  as above

    how = _one_way(ways)
    found = find(Repository.open(repo), swarm)
    tip = results.of_swarm(found).commit
    text = message if message is not None and message.strip() else _message(found, tip, squash=how == "squash")
    landed = land(found.repository, branch=found.branch, tip=tip, how=how, message=text)
    if landed.how != "nothing to do":
        with found.store().transaction(None) as tx:
            tx.event(
                "command.merge", object=found.branch, how=landed.how, into=landed.into, commit=landed.commit, tip=tip,
                **who(),
            )  # fmt: skip
    if as_json:
        click.echo(json.dumps({"swarm": found.id, "tip": tip, **asdict(landed)}))
        return
    if landed.how == "nothing to do":
        has_changes = tip != found.base_commit
        has_all = f"{landed.into} has all of {found.branch} already"
        _say(has_all if has_changes else f"swarm {found.id} has changed no file, so there is nothing to merge")
        return
    files = "1 file" if landed.files == 1 else f"{landed.files} files"
    _say(f"merged {found.branch} into {landed.into}: {landed.how}, {files} changed, now at {landed.commit[:12]}")
    _tell_rest(found)


@click.command(epilog="Example: prong branch my-feature")
@click.argument("names", nargs=-1, required=True, metavar="[SWARM] NAME")
@click.option("--task", type=int, help="Not of the swarm's result, but of what this task made, merged or not.")
@REPO
@JSON
def branch(names: tuple[str, ...], *, task: int | None, repo: Path, as_json: bool) -> None:
    """Make an ordinary branch NAME of what the swarm made; it is yours from then on."""
    from prong.harness import results  # noqa: PLC0415  as above

    if len(names) > 2:  # noqa: PLR2004  as the usage says
        raise click.UsageError("name a branch, or a swarm and a branch")
    found = find(Repository.open(repo), names[0] if len(names) > 1 else None)
    commit = results.make_branch(found, names[-1], task=task)
    if as_json:
        click.echo(json.dumps({"swarm": found.id, "task": task, "branch": names[-1], "commit": commit}))
    else:
        what = found.branch if task is None else f"what task {task} made"
        _say(f"made branch {names[-1]} of {what}, at {commit[:12]}")


@click.command(epilog="Example: prong clean --dry-run")
@click.argument("swarms", nargs=-1, metavar="[SWARM]...")
@click.option("--dry-run", "-n", is_flag=True, help="Only say what would be removed.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@REPO
@JSON
def clean(swarms: tuple[str, ...], *, dry_run: bool, yes: bool, repo: Path, as_json: bool) -> None:
    """Remove what swarms have left behind; never work that is in no branch of yours.

    Without a name: the swarms of which everything is merged into your branches.  A SWARM that is named is removed also
    where something is not merged; that stays as branches prong/SWARM and prong/SWARM-task-N.  One that runs is refused.

    Of a swarm whose directory is gone, what is merged goes; with its name its pins too, and a branch by its own name.
    """
    from prong.harness import cleaning  # noqa: PLC0415  as above
    from prong.harness.cli import forgetting  # noqa: PLC0415  as above

    repository = Repository.open(repo)
    found, gone = forgetting.chosen(repository, swarms)
    plans = [cleaning.plan(one, named=bool(swarms)) for one in found]
    if plans or not gone:
        _show_plans(plans, as_json=as_json, only=dry_run)
    for left in gone:
        forgetting.show(left, as_json=as_json, only=dry_run)
    todo = [one.swarm for one in plans if not one.reasons]
    forgotten = [left for left in gone if left.merged or left.named]
    stays = bool(swarms) and len(todo) + len(forgotten) < len(plans) + len(gone)
    if not dry_run and (todo or forgotten):
        if not yes and (as_json or not sys.stdin.isatty()):
            raise click.UsageError("nothing was removed: say --yes to do this without being asked, or --dry-run")
        if not yes and not click.confirm("Remove this?", err=True):
            click.echo("nothing was removed", err=True)
            return
        for one in todo:
            _tell_cleaned(cleaning.clean(one, named=bool(swarms)), as_json=as_json)
        for left in forgotten:
            forgetting.clean(repository, left, as_json=as_json)
    if not dry_run:
        cleaning.sweep(repository)
    sys.exit(2 if stays else 0)


@click.command(epilog="Example: prong report --html -o report.html")
@SWARM
@click.option("--html", "as_html", is_flag=True, help="One page for a browser, instead of Markdown.")
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="A file; standard output if left out."
)
@REPO
@JSON
def report(swarm: str | None, *, as_html: bool, output: Path | None, repo: Path, as_json: bool) -> None:
    """Tell what was asked, what came of it, what it cost, and what is left."""
    from prong.harness.report import facts, markdown, page  # noqa: PLC0415  as above

    known = facts.gather(find(Repository.open(repo), swarm))
    if as_json:
        text = json.dumps(known.as_json(), ensure_ascii=False) + "\n"
    else:
        text = page.render(known) if as_html else markdown.render(known)
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, "utf-8", errors="replace")
        _say(f"wrote {output}")


COMMANDS = (diff, merge, branch, clean, report)


def _lines(text: IO[bytes]) -> Sequence[str]:
    return text.read().decode("utf-8", "replace").splitlines()


def _coloured(line: str) -> str:
    from prong.harness.cli.display import printable  # noqa: PLC0415  as above

    safe = "\t".join(map(printable, line.split("\t")))
    if line.startswith(_HEADS):
        return click.style(safe, bold=True)
    colour = _COLOURS.get(line[:1])
    return click.style(safe, fg=colour) if colour else safe


def _one_way(ways: Mapping[str, bool]) -> How:
    named: list[How] = [how for how in ("ff-only", "no-ff", "squash") if ways[how.replace("-", "_")]]
    if len(named) > 1:
        raise click.UsageError(f"{' and '.join(f'--{how}' for how in named)} contradict each other; say one of them")
    return named[0] if named else "either"


def _message(swarm: Swarm, tip: str, *, squash: bool) -> str:
    """What the commit says where nobody has said it."""
    from prong.harness.repository.git import with_trailers  # noqa: PLC0415  as above

    goal = " ".join(swarm.options.goal.split())
    short = goal if len(goal) <= 72 else f"{goal[:71]}…"  # noqa: PLR2004  what a first line should have
    first = short if squash else f"Merge swarm {swarm.id}: {short}"
    own = ("--first-parent", "--no-merges") if not squash else ("--no-merges",)
    titles = swarm.repository.git("log", *own, "--reverse", "--format=- %s", f"{swarm.base_commit}..{tip}")
    return with_trailers(f"{first}\n\n{titles}", {"Prong-Swarm": swarm.id})


def _tell_rest(swarm: Swarm) -> None:
    from prong.harness.status import read_status  # noqa: PLC0415  as above

    now = read_status(swarm.store())
    if now.state == "running":
        _say("The swarm still runs; what it merges from now on needs another prong merge.")
    kept = [task for task in now.tasks if task.kept_branch]
    for task in kept:
        _say(f"Not in it: task {task.id}, kept as {task.kept_branch}: {task.title}")
    if now.state != "running" and not kept:
        _say(f"What the swarm left behind can go: prong clean {swarm.id}")


def _show_plans(plans: Sequence[Plan], *, as_json: bool, only: bool) -> None:
    for one in plans:
        told = {
            "swarm": one.swarm.id, "stays": list(one.reasons), "removed": list(one.removed), "kept": list(one.kept),
            "becomes_branch": list(one.rescued), "size_bytes": one.size_bytes,
        }  # fmt: skip
        if as_json and only:
            click.echo(json.dumps(told))
        elif not as_json:
            _show_plan(one)
    if not plans and not as_json:
        _say("There is no swarm here.")


def _show_plan(one: Plan) -> None:
    if one.reasons:
        _say(f"{one.swarm.id} stays: {'; '.join(one.reasons)}")
        return
    _say(f"{one.swarm.id}: {_size(one.size_bytes)} in {one.swarm.directory}")
    for name in one.removed:
        _say(f"  branch {name}, which is merged")
    for name in one.kept:
        _say(f"  but branch {name} stays: it is not merged into a branch of yours, or checked out")
    for task in one.rescued:
        _say(f"  but the work of task {task}, which is in no branch, becomes branch {one.swarm.branch}-task-{task}")


def _tell_cleaned(done: Cleaned | Plan, *, as_json: bool) -> None:
    from prong.harness.cleaning import Plan  # noqa: PLC0415  as above

    if isinstance(done, Plan):  # somebody was faster
        _show_plans([done], as_json=as_json, only=True)
    elif as_json:
        click.echo(json.dumps(asdict(done)))
    else:
        kept = f"; still there: {', '.join(done.kept)}" if done.kept else ""
        _say(f"removed swarm {done.swarm}, {_size(done.freed_bytes)}{kept}")


def _size(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:  # noqa: PLR2004  what makes the next unit
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _say(text: str) -> None:
    from prong.harness.cli.display import printable  # noqa: PLC0415  as above

    click.echo(printable(text))
