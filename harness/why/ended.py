"""How a task ended: what came of it, or why it failed, what failed with it, and how to try again."""

from __future__ import annotations

from prong.harness.why.moment import Moment, Reason, clock, named, span
from prong.state import Row

REACHED = 10_000
"""How many tasks are looked at to find what failed because of one, or what it failed of."""

RESULT_CHARACTERS = 2_000
"""How much of a result or an error is told; all of it stands in `prong tasks`."""

KINDS = {
    "provider": "the model's endpoint gave no answer for long",
    "request": "the model's endpoint refused what it was asked, and would again",
    "model": "the model declined to go on",
    "tool": "the repository or the machine was in the way",
    "merge": "its work could not be merged",
    "budget": "its budget was spent",
    "crash": "its agents died",
    "need": "a task that it needed did not end well",
    "program": "its program ended with an error of its own",
}
"""The kinds of failures in words."""

_TOOK_WITH_IT = """
with recursive gone (id) as (
    select task_need.task from task_need join task on task.id = task_need.task
     where need = :task and state = 'failed' and failure = 'need'
     union select task_need.task from gone join task_need on need = gone.id join task on task.id = task_need.task
     where state = 'failed' and failure = 'need' limit :most
) select id from gone order by id
"""

_FAILED_OF = """
with recursive bad (id) as (
    select need from task_need join task on task.id = need where task_need.task = :task
       and state in ('failed', 'cancelled')
     union select need from bad join task_need on task_need.task = bad.id join task on task.id = need
     where state in ('failed', 'cancelled') limit :most
) select task.id, state from bad join task using (id) where state = 'cancelled' or failure is not 'need' order by id
"""


def done(moment: Moment, task: Row) -> list[Reason]:
    """Its result, where its work is, and how long it took."""
    found = [Reason("result", _text(task["result"]) or "It said nothing at its end.", {"result": task["result"]})]
    if task["merged_commit"]:
        text = f"Its work is merged onto {moment.swarm['branch']} as {task['merged_commit'][:12]}."
        found.append(Reason("merged", text, {"commit": task["merged_commit"], "branch": moment.swarm["branch"]}))
    else:
        found.append(Reason("merged", "It changed no file, so there was nothing to merge.", {"commit": None}))
    return [*found, _times(moment, task)]


def failed(moment: Moment, task: Row) -> list[Reason]:
    """Why it failed, after how many attempts, what failed because of it, and how to try again."""
    kind = KINDS.get(task["failure"] or "", "nobody said of what kind the failure is")
    detail = _text(task["error"]) or "no reason was given"
    found = [Reason("error", f"It failed: {detail}", {"error": task["error"]})]
    data = {"failure": task["failure"], "failures": task["failures"], "attempts": task["attempts"]}
    times = f"; {task['failures']} of {task['attempts']} attempts failed" if task["failures"] else ""
    found.append(Reason("failure", f"What kind of failure: {kind}{times}.", data))
    if task["kept_branch"]:
        text = f"Its work is kept as branch {task['kept_branch']}."
        found.append(Reason("kept", text, {"branch": task["kept_branch"]}))
    return [*found, _times(moment, task), *_consequences(moment, task), _how_to_retry(moment, task)]


def cancelled(moment: Moment, task: Row) -> list[Reason]:
    """Who cancelled it, what failed because of it, and how to try again."""
    who = moment.who("command.cancel", moment.line_of(task["id"]))
    detail = f"It was cancelled: {_text(task['error']) or 'no reason was given'}"
    if who.words:
        detail = f"It was cancelled{who.words.replace(' since ', ' at ')}."
    found = [Reason("cancelled", detail, {"error": task["error"], **who.data})]
    return [*found, _times(moment, task), *_consequences(moment, task), _how_to_retry(moment, task)]


def _times(moment: Moment, task: Row) -> Reason:
    ended_at = task["ended_at"] or moment.now
    ended = clock(moment.at_wall(ended_at))
    data = {"ended_at": moment.at_wall(ended_at), "attempt": task["attempt"]}
    if task["started_at"] is None:
        return Reason("duration", f"It had not begun; it ended at {ended}.", {**data, "took_s": 0.0})
    took_s = ended_at - task["started_at"]
    waited_s = task["started_at"] - (task["ready_at"] or task["started_at"])
    agents = f", with {task['attempt']} agents one after another" if task["attempt"] > 1 else ""
    waited = f" It had waited {span(waited_s)} in line before." if waited_s >= 1 else ""
    return Reason(
        "duration",
        f"It took {span(took_s)} and ended at {ended}{agents}.{waited}",
        {**data, "took_s": round(took_s, 3)},
    )


def _consequences(moment: Moment, task: Row) -> list[Reason]:
    rows = moment.source.rows(_TOOK_WITH_IT, task=task["id"], most=REACHED)
    if not rows:
        return []
    numbers = [row["id"] for row in rows]
    text = f"{named(numbers)} failed because of it.".capitalize()
    return [Reason("took_with_it", text, {"tasks": numbers})]


def _how_to_retry(moment: Moment, task: Row) -> Reason:
    roots = [row["id"] for row in moment.source.rows(_FAILED_OF, task=task["id"], most=REACHED)]
    if task["failure"] == "need" and roots:
        text = f"It failed because of {named(roots)}. Try again with: prong retry {roots[0]} --with-dependants"
        data = {"retry": roots, "with_dependants": True}
    else:
        more = bool(moment.source.rows(_TOOK_WITH_IT, task=task["id"], most=1))
        text = f"Try again with: prong retry {task['id']}{' --with-dependants' if more else ''}"
        data = {"retry": [task["id"]], "with_dependants": more}
    return Reason("retry", text, data)


def _text(text: str | None) -> str:
    told = (text or "").strip()
    return told if len(told) <= RESULT_CHARACTERS else told[: RESULT_CHARACTERS - 1] + "…"
