"""What the model reads about the primitives: names, inputs, and when to use which."""

from __future__ import annotations

from typing import Any

_TIMEOUT = {"type": "number", "description": "Seconds to wait at most. Leave out to wait as long as it takes."}


def _tool(
    name: str, description: str, properties: dict[str, Any], required: list[str], *examples: dict[str, Any], **how: Any
) -> dict[str, Any]:
    """A definition, with examples of inputs where the schema alone does not show how the keys go together.

    Only a few tools are `strict`: the endpoint bounds how many optional keys all strict ones have together, and a
    value of any type has no place in them.
    """
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    definition = {"name": name, "description": description, "input_schema": schema, **how}
    return {**definition, "input_examples": list(examples)} if examples else definition


CREATE_TASK = _tool(
    "create_task",
    "Hand a piece of work to another agent that runs in parallel with you, in a process and a clone of the repository"
    " of its own. Use it when work splits into parts that do not need each other's intermediate steps; make all parts"
    " in one turn. Do not use it for a single quick command. What the agent changes is merged when it ends; its last"
    " words are the result that wait_tasks returns.",
    {
        "title": {"type": "string", "description": "A few words that name the work."},
        "prompt": {"type": "string", "description": "What to do, what to leave alone, and what to report."},
        "context": {
            "type": "string",
            "enum": ["fork", "brief", "fresh", "auto"],
            "description": "fork (default): the agent knows all that you know now and sees the files as you left them;"
            " cheap, because it shares your prompt cache. brief: it reads the prompt and a summary of this"
            " conversation, and sees the files as you left them; for long work that needs little of what you know."
            " fresh: it knows only the prompt. auto: the cheapest of the three by what such tasks have cost; write a"
            " prompt that says all that it needs.",
        },
        "needs": {
            "type": "array",
            "items": {"type": "integer"},
            "description": "Numbers of tasks that must be done before it starts. It reads their results.",
        },
        "on_failed_need": {
            "type": "string",
            "enum": ["fail", "continue", "any"],
            "description": "When a need fails: fail (default): it fails too. continue: it starts when all have ended,"
            " and reads what failed. any: it starts as soon as one of them is done.",
        },
        "priority": {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "description": "Higher starts first; 0 is usual; or its name from the rules.",
        },
        "role": {
            "type": "string",
            "description": "What kind of work it is, such as test or review: the name of a role in PRONG.md, or one"
            " that you use for all like tasks, from which their time is learnt.",
        },
        "type": {
            "type": "string",
            "description": "Without a role: a type of task to which the rules give one. Another type changes nothing.",
        },
        "writes": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Patterns of the files that it will change, if you know them: src/parser/**, docs/api.md."
            " Tasks whose patterns overlap run one after the other, so that they do not conflict.",
        },
        "attempts": {"type": "integer", "description": "How often it may fail for reasons that may pass; 3 is usual."},
        "result_schema": {
            "type": "object",
            "description": "A JSON schema that its result must fit, for results that are counted, compared or merged."
            " wait_tasks returns what fitted as data, and tasks that need it read it.",
        },
        "result_asks": {
            "type": "integer",
            "description": "How often it is asked again where its result does not fit, before it fails; 2 is usual.",
        },
        "ignored": {
            "type": "string",
            "enum": ["skip", "copy"],
            "description": "For a fork: whether it also gets the files that git ignores, such as installed dependencies"
            " and build output. skip (default): it makes anew what it needs. copy: it finds them; this takes time.",
        },
        "tokens": {
            "type": "integer",
            "description": "The most tokens that it and all below it may use, taken from your own budget and returned"
            " where they are not used. Leave it out to let it share yours.",
        },
    },
    ["title", "prompt"],
    {
        "title": "Tests of the parser",
        "prompt": "Write tests for parser.py in tests/test_parser.py. Change nothing else. Report what is not covered.",
    },
    {"title": "Release notes", "prompt": "Write them from what tasks 3 and 4 report.", "needs": [3, 4]},
    {
        "title": "Bugs of the parser",
        "prompt": "Look for bugs in parser.py. Change nothing.",
        "result_schema": {
            "type": "object",
            "properties": {"bugs": {"type": "array", "items": {"type": "string"}}},
            "required": ["bugs"],
        },
    },
)

WAIT_TASKS = _tool(
    "wait_tasks",
    "Wait until tasks have ended and read their results. Costs nothing while you wait. Use it when you cannot go on"
    " without the results. Of long results, and of many, you read the beginnings; read_result has the rest.",
    {
        "tasks": {"type": "array", "items": {"type": "integer"}, "description": "Numbers that create_task returned."},
        "mode": {"type": "string", "enum": ["all", "any"], "description": "all (default) or any of them."},
        "timeout": _TIMEOUT,
    },
    ["tasks"],
    strict=True,
)

LIST_TASKS = _tool(
    "list_tasks",
    "See the tasks of the swarm: their states, who works on them, and what the waiting ones wait for. Costs one short"
    " read. Use it to decide what to do next; to wait for tasks use wait_tasks, never a loop of list_tasks.",
    {
        "state": {
            "type": "string",
            "enum": ["open", "blocked", "ready", "running", "parked", "done", "failed", "cancelled", "all"],
            "description": "Only tasks in this state; open (default): all that have not ended.",
        },
        "of": {
            "type": "string",
            "enum": ["mine", "all"],
            "description": "mine (default): those that you created and what is below them; all: the whole swarm's.",
        },
    },
    [],
    strict=True,
)

CANCEL_TASK = _tool(
    "cancel_task",
    "End a task that is not needed any more, and everything below it. Its agent is stopped; what it did is not merged,"
    " but kept. You can cancel only tasks that you created, or that those created.",
    {
        "task": {"type": "integer", "description": "A number that create_task returned."},
        "reason": {"type": "string", "description": "Why; whoever waits for the task reads it."},
    },
    ["task", "reason"],
    strict=True,
)

READ_RESULT = _tool(
    "read_result",
    "Read the whole result of a task where wait_tasks cut it, or the transcript of its conversation. Use it only where"
    " you need more than wait_tasks told you: what you read stays in your conversation, and all your forks pay for it.",
    {
        "task": {"type": "integer", "description": "A number that create_task returned, or that list_tasks lists."},
        "from": {"type": "integer", "description": "The character at which to begin; 0 if left out."},
        "count": {"type": "integer", "description": "How many characters at most, up to 40000; 8000 if left out."},
        "transcript": {
            "type": "boolean",
            "description": "Instead of its result: what its agent said and called, long outputs cut.",
        },
    },
    ["task"],
    {"task": 4, "from": 4000},
    {"task": 4, "transcript": True, "count": 20_000},
)

LOCK = _tool(
    "lock",
    "Make sure that only one agent at a time does something that others must not do meanwhile, such as rewriting a"
    " shared file. Acquire, do the short thing, and release in one turn: the calls of a turn behind an acquire run"
    " after it. Waiting costs no tokens, but while you hold a lock others stand still. A lock is given back at the end"
    " of the turn unless you keep it. You need none for files in your own clone, nor for one change of a shared_map,"
    " atomic or queue: each of those is safe by itself. If agents wait for each other in a circle, one of them is"
    " refused with the story; it should release what it holds and take locks in the same order as the others.",
    {
        "op": {"type": "string", "enum": ["acquire", "release", "status"]},
        "name": {"type": "string", "description": "What is guarded, for example file:docs/index.md."},
        "shared": {
            "type": "boolean",
            "description": "For acquire: share it with other readers; only who wants it alone is kept out.",
        },
        "timeout": _TIMEOUT,
        "keep": {"type": "boolean", "description": "Keep the lock beyond this turn, until you release it."},
    },
    ["op", "name"],
    strict=True,
)

SEMAPHORE = _tool(
    "semaphore",
    "Let at most so many agents at once do something, such as running the whole test suite or using a device. Waiting"
    " costs no tokens. A permit is given back at the end of the turn unless you keep it. For exactly one at a time use"
    " lock.",
    {
        "op": {"type": "string", "enum": ["acquire", "release", "status"]},
        "name": {"type": "string", "description": "What is limited, for example test-suite."},
        "permits": {
            "type": "integer",
            "description": "How many at once; who uses the semaphore first decides. 1 if left out.",
        },
        "timeout": _TIMEOUT,
        "keep": {"type": "boolean", "description": "Keep the permit beyond this turn, until you release it."},
    },
    ["op", "name"],
)

BARRIER = _tool(
    "barrier",
    "Wait until all parties have got this far, for example until every part is measured before the parts are compared."
    " Costs no tokens while you wait. It breaks, and says why, when a party fails or a timeout passes; then go on"
    " without it, or reset it and meet again.",
    {
        "op": {"type": "string", "enum": ["wait", "status", "reset"]},
        "name": {"type": "string"},
        "parties": {
            "anyOf": [{"type": "integer"}, {"type": "string", "enum": ["siblings"]}],
            "description": "How many agents meet; siblings: all tasks created in the same turn as yours.",
        },
        "timeout": _TIMEOUT,
    },
    ["op", "name"],
    {"op": "wait", "name": "measured", "parties": "siblings"},
    {"op": "wait", "name": "reviewed", "parties": 3, "timeout": 600},
)

EVENT = _tool(
    "event",
    "A flag that agents can wait for, for example that a shared interface is decided. Set it when it is so: all who"
    " wait go on, and whoever comes later does not wait. Waiting costs no tokens.",
    {
        "op": {"type": "string", "enum": ["wait", "set", "clear", "status"]},
        "name": {"type": "string", "description": "What has happened when it is set, for example api-decided."},
        "timeout": _TIMEOUT,
    },
    ["op", "name"],
    strict=True,
)

ATOMIC = _tool(
    "atomic",
    "One value that many agents change at once without losing a change: a counter, the best score so far, who goes"
    " first. Each change returns the old and the new value. No lock is needed.",
    {
        "op": {"type": "string", "enum": ["get", "add", "set", "compare_and_set", "min", "max"]},
        "name": {"type": "string"},
        "value": {"description": "For add, min and max a number; for set and compare_and_set any JSON value."},
        "expected": {"description": "For compare_and_set: it is written only where this is the value."},
    },
    ["op", "name"],
    {"op": "add", "name": "files-done", "value": 1},
    {"op": "compare_and_set", "name": "leader", "expected": None, "value": "task 4"},
)

SHARED_MAP = _tool(
    "shared_map",
    "Keys and JSON values that all agents see at once. Use it for findings that others build on while they run. Every"
    " key has a version: put with if_version writes only over the version that you read. watch waits, without tokens,"
    " until something changes; history tells who wrote what before.",
    {
        "op": {"type": "string", "enum": ["get", "put", "add", "delete", "keys", "items", "watch", "history"]},
        "map": {"type": "string", "description": "Which map."},
        "key": {"type": "string", "description": "For get, put, add, delete and history; for watch only this key."},
        "value": {"description": "For put: any JSON value. For add: the number to add."},
        "if_version": {
            "type": "integer",
            "description": "For put and delete: only if this is the version; 0 if absent.",
        },
        "prefix": {"type": "string", "description": "For keys, items and watch: only keys that begin so."},
        "since": {
            "type": "integer",
            "description": "For watch: the version of your last watch, so that you miss nothing in between.",
        },
        "count": {"type": "integer", "description": "For history: the last so many writes; 20 if left out."},
        "timeout": _TIMEOUT,
    },
    ["op", "map"],
    {"op": "put", "map": "findings", "key": "src/parser.py", "value": {"bugs": 2}, "if_version": 0},
    {"op": "watch", "map": "findings", "prefix": "src/", "since": 12, "timeout": 300},
)

SHARED_LIST = _tool(
    "shared_list",
    "A list of JSON values that all agents see: a log of decisions, results in the order in which they came. append"
    " returns the index; read from an index on returns what is new, and with a timeout waits for it.",
    {
        "op": {"type": "string", "enum": ["append", "read", "set", "insert", "pop", "length"]},
        "list": {"type": "string", "description": "Which list."},
        "value": {"description": "For append, set and insert: any JSON value."},
        "index": {"type": "integer", "description": "For read: from here on; for set, insert and pop: where."},
        "count": {"type": "integer", "description": "For read: at most so many; 100 if left out."},
        "timeout": {"type": "number", "description": "For read: seconds to wait where nothing is there yet."},
    },
    ["op", "list"],
)

MESSAGE_QUEUE = _tool(
    "message_queue",
    "Pass messages to whichever agent reads the queue next; each message is read once. Use it to report progress or to"
    " hand over pieces of work one by one. Waiting costs no tokens. To tell many at once let each subscribe a queue of"
    " its own to a topic, and publish to the topic. Every task has an inbox, the queue inbox/task-N: what you put there"
    " its agent is told of at its next turn. What you have read counts as dealt with when your task is done; if"
    " you fail, it goes to another reader.",
    {
        "op": {"type": "string", "enum": ["put", "get", "size", "publish", "subscribe"]},
        "queue": {"type": "string", "description": "Which queue; for publish the topic."},
        "message": {"description": "For put and publish: any JSON value."},
        "priority": {"type": "integer", "description": "For put and publish: higher is read first; 0 is usual."},
        "count": {"type": "integer", "description": "For get: up to so many messages at once; 1 if left out."},
        "topic": {"type": "string", "description": "For subscribe: what is published to it comes to this queue."},
        "timeout": _TIMEOUT,
    },
    ["op", "queue"],
    {"op": "put", "queue": "files-to-check", "message": {"path": "src/parser.py"}},
    {"op": "get", "queue": "files-to-check", "count": 5, "timeout": 60},
    {"op": "subscribe", "queue": "inbox/task-4", "topic": "decisions"},
)

FUTURE = _tool(
    "future",
    "One value that will come, set once: promise it, so that others can wait for it and are told if you fail; set it,"
    " or fail it with the reason. For the result of a task use wait_tasks. Waiting costs no tokens.",
    {
        "op": {"type": "string", "enum": ["get", "promise", "set", "fail", "cancel", "status"]},
        "name": {"type": "string"},
        "value": {"description": "For set: any JSON value."},
        "reason": {"type": "string", "description": "For fail: why there will be no value."},
        "timeout": _TIMEOUT,
    },
    ["op", "name"],
)

RUN_PROGRAM = _tool(
    "run_program",
    "Run a Python program that creates tasks, waits for them and combines what they found, in code instead of in turns"
    " of yours. Use it when you would otherwise call the same tools many times: one task for each of many files, rounds"
    " until nothing is found any more, a queue that several tasks work off. For a few tasks call create_task yourself."
    " It imports from prong.harness.program: create_task(prompt, title=…, context='fresh'|'fork'|'brief', key=…),"
    " wait(tasks), wait_any, as_completed, list_tasks, cancel_task, shared_map(name), shared_list, message_queue,"
    " atomic, event, future, lock, semaphore, barrier, Refused. A task has id, state, done, result, value, error."
    " Each call is the tool of that name, with your rights. It starts in your workspace, in the sandbox of bash;"
    " what it prints is the result."
    " While all it does is wait it costs nothing. If you are restarted, it runs again from its beginning and finds the"
    " tasks that it created: so let what it asks not depend on the time, or give create_task a key.",
    {
        "program": {"type": "string", "description": "The source. Print what you want to know, not all there is."},
        "args": {"type": "array", "items": {"type": "string"}, "description": "What it finds in sys.argv[1:]."},
        "timeout": {
            "type": "number",
            "description": "Seconds that it may work; while it only waits for others they are not counted."
            " Default: 600.",
        },
    },
    ["program"],
    {
        "program": "from pathlib import Path\nfrom prong.harness.program import create_task, wait\n\n"
        "files = sorted(Path('src').rglob('*.py'))\n"
        "tasks = [create_task(f'Look for bugs in {file}. Answer OK, or what is wrong.') for file in files]\n"
        "for task in wait(tasks):\n    if task.result != 'OK':\n        print(task.title, task.result or task.error)\n"
    },
)

PRIMITIVES = (
    CREATE_TASK, WAIT_TASKS, LIST_TASKS, CANCEL_TASK, READ_RESULT, LOCK, SEMAPHORE, BARRIER, EVENT, ATOMIC, SHARED_MAP,
    SHARED_LIST, MESSAGE_QUEUE, FUTURE,
)  # fmt: skip
