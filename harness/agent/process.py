"""The process of one agent, from its fork to its end.

    register -> conversation -> loop -> leave
                   the first call that needs it: workspace -> commit -> merge queue

Everything before `run_agent` happens once, in the nursery, and is shared by all agents.  A process in which nothing but
a conversation took place may be the next agent, too: `run_agent` says so.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping
from types import FrameType
from typing import Any

import structlog

from prong.agents import log, nursery
from prong.agents.conversation import Message
from prong.agents.request import Request
from prong.agents.slot import Slot
from prong.harness.agent.program_work import work_on
from prong.harness.agent.shared import TOOLS, Shared, share
from prong.primitives import holdings, lock, permits
from prong.state import Deposed, Member, Membership, StoreError, TaskLost
from prong.state.calling import Calling
from prong.state.member import LEASE_S


def prepare(settings: Mapping[str, Any]) -> nursery.Main:
    """Make ready in the nursery what every agent needs, and return what an agent runs."""
    log.configure(secrets=settings["secrets"])
    shared = share(settings)
    rehearse(shared)
    return lambda order: run_agent(shared, order)


def rehearse(shared: Shared) -> None:
    """Let a call of the model be made once that reaches nobody, lest each fork import and compile what it needs."""
    first = Message(0, "user", ({"type": "text", "text": "Be ready."},))
    try:
        shared.model.rehearse(Request(shared.system, TOOLS, (first,)))
    except Exception as error:  # noqa: BLE001  agents can do without: it only makes their first call quicker
        structlog.get_logger().warning("rehearsal.failed", problem=str(error))


def run_agent(shared: Shared, order: nursery.Order) -> bool:
    """Work on the task that the order names until it is merged, failed, or taken away.

    Whether the process is as it was before, so that it may do the same for another order.
    """
    over = threading.Event()
    try:
        member, slot, heart = register(shared, order, over)
        work = work_on(shared, member, slot, order["task"], order["fence"])
        reason = work.do()
    except (Deposed, TaskLost) as error:
        structlog.get_logger().info("agent.overtaken", agent=order["agent"], task=order["task"], reason=str(error))
        return False
    if not work.leaving.taken:
        with member.store.transaction(None) as tx:
            work.leaving.take(tx, reason)
    over.set()
    heart.join()
    # Whom somebody is about to kill must be nobody else by then.
    return not work.leaving.wanted and work.left_nothing and threading.active_count() == 1 and not nursery.children()


def register(shared: Shared, order: nursery.Order, over: threading.Event) -> tuple[Membership, Slot, threading.Thread]:
    """Open the store, say that the agent lives, and keep saying so in a thread, until it is over."""
    me = Member(order["agent"], order["incarnation"], order["task"])
    slot = Slot(shared.store, me, order["fence"])
    member = Membership(shared.store, me, slot.parking)
    member.calling = Calling(shared.store, me.agent)
    with member.transaction() as tx:
        tx.execute("update agent set state = 'running' where id = :agent", agent=me.agent)
        tx.event("agent.running", object=str(me.agent))
        lock.inherit(tx, order["task"], me.agent)
        permits.inherit(tx, order["task"], me.agent)
        holdings.renew(tx)  # on a busy machine much of the first lease is over by now
    heart = threading.Thread(target=_beat, args=(member, over), name="heartbeat", daemon=True)
    heart.start()
    return member, slot, heart


def _beat(member: Membership, over: threading.Event) -> None:
    """The heartbeat: ends with the process, when it is over, or when the agent was declared dead."""
    while not over.wait(LEASE_S / 3):
        try:
            with member.transaction() as tx:
                holdings.renew(tx)
        except Deposed:
            return
        except StoreError as error:  # a full disk, a stranger that keeps the file: it may be over before the lease is
            structlog.get_logger().warning("heartbeat.missed", problem=str(error))


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(143)


def be_nursery() -> None:
    """Fork agents until the supervisor goes."""
    signal.signal(signal.SIGTERM, _end)
    nursery.serve(prepare)
