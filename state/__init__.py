"""The database that every process of a swarm shares: connection, schema, transactions, clock, events, waking."""

from prong.state.clock import Clock, FileClock, SystemClock
from prong.state.errors import Deposed, Invalid, ProngError, StoreBusy, StoreError, TaskLost, WaitInsideAtomic
from prong.state.member import Membership, join
from prong.state.store import Store
from prong.state.transaction import Member, Row, Transaction

__all__ = [
    "Clock",
    "Deposed",
    "FileClock",
    "Invalid",
    "Member",
    "Membership",
    "ProngError",
    "Row",
    "Store",
    "StoreBusy",
    "StoreError",
    "SystemClock",
    "TaskLost",
    "Transaction",
    "WaitInsideAtomic",
    "join",
]
