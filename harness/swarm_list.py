"""All swarms of a repository, each in one line: what was asked, how it stands, and whether anybody runs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from prong.harness.repository.repository import Repository
from prong.harness.status import NO_SUPERVISOR, SupervisorStatus, is_interrupted, shown_state, supervisor_of
from prong.harness.status_rows import STATES
from prong.harness.swarms import NoSwarm, find, names
from prong.state import ProngError, Store

_COUNT = "select state, held, count(*) as count from task group by state, held"


@dataclass(frozen=True, slots=True)
class SwarmLine:
    """One swarm.  `age_s` counts from its first start; `tasks` says how many are in each state, as far as any are.

    One whose database cannot be read has `state` `unreadable`, and the reason as its `goal`.
    """

    swarm: str
    state: str
    goal: str
    branch: str | None = None
    age_s: float | None = None
    tasks: Mapping[str, int] = field(default_factory=dict)
    paused: bool = False
    supervisor: SupervisorStatus = NO_SUPERVISOR

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints of it."""
        return asdict(self)


def list_swarms(repository: Repository) -> Iterator[SwarmLine]:
    """The swarms of a repository, the newest first."""
    for name in reversed(names(repository)):
        try:
            store = find(repository, name).store()
            with store.snapshot():
                yield _line(store)
        except NoSwarm:  # its maker was interrupted before there was anything in it
            continue
        except ProngError as error:
            yield SwarmLine(name, "unreadable", str(error))


def _line(store: Store) -> SwarmLine:
    swarm = store.row("select * from swarm")
    assert swarm is not None, "it was found"
    supervisor = supervisor_of(store)
    interrupted = is_interrupted(swarm, supervised=supervisor.state in ("alive", "stopped"))
    counts = dict.fromkeys(STATES, 0)
    for row in store.rows(_COUNT):
        counts[shown_state(row, interrupted=interrupted)] += row["count"]
    return SwarmLine(
        swarm=swarm["id"],
        state="interrupted" if interrupted else swarm["state"],
        goal=swarm["goal"],
        branch=swarm["branch"],
        age_s=round(store.clock.now() - swarm["started_at"], 3),
        tasks={state: count for state, count in counts.items() if count},
        paused=bool(swarm["paused"]),
        supervisor=supervisor,
    )
