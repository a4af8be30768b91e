"""What agents share: locks, barriers, maps, queues and tasks, in one SQLite file, right across processes and deaths.

Each is made with a membership (`prong.state.join`) and a name:

    store = Store(Path(".prong/mine"))
    member = join(store, "ada")
    with Lock(member, "index") as grant:
        SharedMap(member, "findings")["src"] = {"files": 12}
"""

from prong.primitives.barrier import Barrier
from prong.primitives.errors import BrokenBarrier, NotHeld, TooLarge, UnknownTask, VersionConflict
from prong.primitives.lock import Lock
from prong.primitives.message_queue import MessageQueue
from prong.primitives.shared_map import SharedMap
from prong.primitives.task import Plan, Task, create_task, wait_tasks

__all__ = [
    "Barrier",
    "BrokenBarrier",
    "Lock",
    "MessageQueue",
    "NotHeld",
    "Plan",
    "SharedMap",
    "Task",
    "TooLarge",
    "UnknownTask",
    "VersionConflict",
    "create_task",
    "wait_tasks",
]
