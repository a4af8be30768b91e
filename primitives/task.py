"""Tasks: work that survives its agent.

    blocked --needs done--> ready --claim--> running --complete--> done
       |                      ^                 |  +----fail-----> failed, or ready again after a pause
       |                      +--its agent died-+  +---cancel----> cancelled
       +--a need failed--> failed             running <--park, unpark--> parked

A claim gives the task's next fence; whatever is written for the task is refused under an older one.  This is the face;
what there is to know stands in task_creating, task_line, task_attempts, task_ending and task_waiting.
"""

from __future__ import annotations

from prong.primitives.task_attempts import (
    STALLED,
    WORN_OUT,
    fail,
    free_from_cache,
    give_back,
    hold_for_budget,
    hold_for_cache,
    pause,
    retry,
    set_priority,
)
from prong.primitives.task_creating import create_task, create_tasks, set_limits, set_role
from prong.primitives.task_ending import cancel, complete, finish
from prong.primitives.task_line import Claim, claim, free_held, hold, offer, place, take_next, wait_next
from prong.primitives.task_record import (
    FINAL,
    NEEDS,
    PROMPT_BYTES,
    RESULT_ASKS,
    RESULT_BYTES,
    SCHEMA_BYTES,
    TITLE_CHARACTERS,
    Failure,
    OnFailedNeed,
    Plan,
    Task,
    find,
)
from prong.primitives.task_waiting import wait_tasks

__all__ = [
    "FINAL", "NEEDS", "PROMPT_BYTES", "RESULT_ASKS", "RESULT_BYTES", "SCHEMA_BYTES", "STALLED", "TITLE_CHARACTERS",
    "WORN_OUT", "Claim", "Failure", "OnFailedNeed", "Plan", "Task", "cancel", "claim", "complete", "create_task",
    "create_tasks", "fail", "find", "finish", "free_from_cache", "free_held", "give_back", "hold", "hold_for_budget",
    "hold_for_cache", "offer", "pause", "place", "retry", "set_limits", "set_priority", "set_role", "take_next",
    "wait_next", "wait_tasks",
]  # fmt: skip
