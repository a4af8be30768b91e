"""What agents share: locks, barriers, maps, queues, futures and tasks, in one SQLite file, right across all deaths.

    with join("work.db") as swarm:                     # or the directory of a swarm
        with swarm.Lock("index") as grant:
            swarm.SharedMap("findings")["src"] = {"files": 12}

Each class can be made with a membership and a name, too: `Lock(swarm, "index")`.
"""

from prong.primitives.artifacts import ArtifactLost
from prong.primitives.atomic import Atomic, Change
from prong.primitives.barrier import Barrier
from prong.primitives.budget import Budget
from prong.primitives.condition import Condition, NotAcquired
from prong.primitives.errors import (
    BrokenBarrier,
    BrokenCall,
    BrokenFuture,
    BrokenPool,
    Deadlock,
    NotDelivered,
    NotHeld,
    NotPromised,
    OutOfBudget,
    PermitLost,
    ReleasedTooOften,
    RemoteError,
    RemoteTraceback,
    ShutDown,
    TaskFailed,
    TooLarge,
    TooManyTasks,
    UnknownTask,
    VersionConflict,
    WrongTaskState,
)
from prong.primitives.event import Event
from prong.primitives.executor import Executor
from prong.primitives.future import Future
from prong.primitives.joined import Swarm, join
from prong.primitives.lock import Lock
from prong.primitives.message_queue import MessageQueue
from prong.primitives.rlock import RLock
from prong.primitives.semaphore import BoundedSemaphore, Semaphore
from prong.primitives.shared_list import SharedList
from prong.primitives.shared_map import SharedMap
from prong.primitives.task import Claim, Plan, Task, create_task, create_tasks, take_next, wait_next, wait_tasks
from prong.primitives.task_future import TaskFuture
from prong.primitives.topic import Topic, inbox

__all__ = [
    "ArtifactLost",
    "Atomic",
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrier",
    "BrokenCall",
    "BrokenFuture",
    "BrokenPool",
    "Budget",
    "Change",
    "Claim",
    "Condition",
    "Deadlock",
    "Event",
    "Executor",
    "Future",
    "Lock",
    "MessageQueue",
    "NotAcquired",
    "NotDelivered",
    "NotHeld",
    "NotPromised",
    "OutOfBudget",
    "PermitLost",
    "Plan",
    "RLock",
    "ReleasedTooOften",
    "RemoteError",
    "RemoteTraceback",
    "Semaphore",
    "SharedList",
    "SharedMap",
    "ShutDown",
    "Swarm",
    "Task",
    "TaskFailed",
    "TaskFuture",
    "TooLarge",
    "TooManyTasks",
    "Topic",
    "UnknownTask",
    "VersionConflict",
    "WrongTaskState",
    "create_task",
    "create_tasks",
    "inbox",
    "join",
    "take_next",
    "wait_next",
    "wait_tasks",
]
