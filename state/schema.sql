-- The state of one swarm.  This file is the specification: what stands here is all there is.
--
-- Points in time (`*_at`) are seconds since 1970 by the swarm's own clock, which never jumps (state/clock.py); only
-- `event.at` is the wall clock's, for people.  Columns that hold JSON say so.  Nothing is written but through
-- Store.transaction, which checks that the writer is alive, and appends what happened to `event`.
--
-- What is written often is checked by `or`: SQLite makes a table of the values of an `in` for each statement.

-- One row per boot of the machine: what makes its monotonic clock read as seconds since 1970.
create table boot (
    id        text primary key,
    offset_s  real not null
) strict;

-- The run itself: one row.
create table swarm (
    id              text primary key,
    goal            text not null,
    repository      text not null,               -- the root of the user's working tree
    base_commit     text not null,               -- what HEAD was when the swarm started
    branch          text not null,               -- the integration branch
    model           text not null,
    slots           integer not null,            -- how many agents may run at once
    options         text not null,               -- JSON: whatever else `prong resume` needs
    state           text not null check (state in ('running', 'stopped', 'done', 'failed', 'budget', 'approval', 'cache')),
    paused          integer not null default 0,  -- 1: nothing starts or goes on until somebody says so
    on_lost_cache   text not null default 'stop' check (on_lost_cache in ('stop', 'continue', 'brief')),
    supervisor_pid  integer,                     -- null: none
    supervisor_process text,                     -- the same process as an agent's `process` names it
    started_at      real not null,
    ended_at        real
) strict;

-- Whoever acts: a process of Prong's own, a program that uses the primitives, the harness itself.
-- A row with `ended_at` belongs to a dead process; a process that was declared dead can never write again.
create table agent (
    id           integer primary key,
    name         text not null,
    incarnation  integer not null default 1,
    pid          integer,
    task         integer,
    state        text not null check (state in ('starting', 'running', 'parked', 'asleep', 'ended', 'dead')),
    beat_at      real not null,                  -- the last heartbeat
    expires_at   real,                           -- dead if it has not beaten by then; null: tied to its process alone
    started_at   real not null,
    ended_at     real,
    reason       text,                           -- why it ended
    process      text                            -- boot, namespace, pid and birth: whoever looks sees whether it is
) strict;                                        -- gone; null: the harness looks after it

create index agent_asleep on agent (id) where state = 'asleep' and ended_at is null;
create index agent_alive on agent (id) where ended_at is null;
create index agent_task on agent (task) where task is not null;

-- Work that must survive its agent.
--
--     blocked --> ready --> running --> done
--                   ^       |    ^  +-> failed, cancelled
--                   |       v    |
--                   +--- (agent died)   running <-> parked: its agent waits and holds no slot
--
-- Ready tasks stand in one line: by level, which is priority and age in one number, then by the longest path.
create table task (
    id            integer primary key,
    parent        integer references task,
    title         text not null,
    prompt        text not null,
    context       text not null check (context in ('fork', 'brief', 'fresh')),
    state         text not null
                  check (state = 'blocked' or state = 'ready' or state = 'running' or state = 'parked'
                         or state = 'done' or state = 'failed' or state = 'cancelled'),
    held          text check (held in ('budget', 'asleep', 'cache')), -- why it is parked and no process waits for it
    held_by       text not null default 'account' check (held_by in ('account', 'agent')), -- whose budget is spent
    paused        integer not null default 0,    -- 1: it neither starts nor goes on until somebody says so
    role          text not null default '',      -- what kind of work it is; '': none that has a name
    depth         integer not null default 0,    -- how many tasks it stands below
    priority      integer not null default 0,    -- higher goes first
    raised        integer,                       -- priority of somebody who waits for it; null: of nobody higher
    level         integer not null default 0,    -- its place in the line, highest first: see primitives/ranking.py
    estimate_s    real not null default 0,       -- how long it is expected to run
    path_s        real not null default 0,       -- the same with the longest line of those that need it
    on_failed_need text not null default 'fail' check (on_failed_need in ('fail', 'continue', 'any')),
    attempts      integer not null default 3,    -- failed attempts after which it has failed
    attempt       integer not null default 0,    -- the n-th try
    failures      integer not null default 0,    -- attempts that failed
    failure       text,                          -- what kind of failure the last one was
    stalled       integer not null default 0,    -- agents lost in a row without one new message
    worn          integer not null default 0,    -- agents lost in all
    not_before    real,                          -- when the next attempt may begin; null: at once
    account       integer,                       -- whose budget it spends: a task's number, 0 for the swarm's, or null
    writes        text,                          -- JSON: patterns of the files that it is to change; null: not said
    agent         integer references agent,      -- who has claimed it
    fence         integer not null default 0,    -- only grows; a write under an older one is refused
    head          integer references message,    -- where its conversation has got to
    fork_point    integer references message,    -- the assistant message at which it was forked
    brief_of      integer references message,    -- the one up to which it reads a summary
    pays          integer not null default 0,    -- 1: a person lets it begin although the cache of its fork point is lost
    program       text,                          -- the program that it runs, as JSON; null: a model is asked
    base_commit   text,                          -- what its workspace started from
    commit_id     text,                          -- its finished work, not merged yet or merged as merged_commit
    merged_commit text,
    kept_branch   text,                          -- where work stands that could not be merged
    result        text,
    result_schema text,                          -- JSON schema that its result must fit; null: words will do
    result_asks   integer not null default 2,    -- how often its agent is asked again where the result does not fit
    result_asked  integer not null default 0,    -- how often it was
    result_value  text,                          -- JSON that fitted, or the marker of an artifact
    result_whole  text,                          -- the marker of the artifact with the whole of a result too long for a row
    error         text,
    gated         integer not null default 0,    -- 1: it stays blocked after its needs until its plan lets it start
    hedge         integer not null default 0,    -- 1: a second copy of it may run where it is a straggler
    hedge_of      integer references task,       -- the task of which it is a second copy; null: it is none
    key           text,                          -- idempotency key: the same key makes no second task
    created_at    real not null,
    ready_at      real,
    started_at    real,
    ended_at      real
) strict;
-- It holds who backs off, too, with until when, so that they are passed over without a look at their rows.
create index task_line on task (level desc, path_s desc, id, not_before) where state = 'ready' and paused = 0;
create index task_open on task (state, id) where state not in ('done', 'failed', 'cancelled');
create index task_bad on task (state, id) where state in ('failed', 'cancelled');
create index task_raised on task (id) where raised is not null;
create index task_of_role on task (role, state) where role <> '' and state not in ('done', 'failed', 'cancelled');
create index task_gated on task (id) where gated = 1;
create index task_may_hedge on task (id) where hedge = 1;
create index task_hedge on task (hedge_of) where hedge_of is not null;
create index task_later on task (not_before) where not_before is not null;
create index task_held on task (account) where held is not null;
create index task_parent on task (parent) where parent is not null;
create index task_said on task (level desc, path_s desc, id)
    where state = 'ready' and paused = 0 and writes is not null;
create index task_unsaid on task (level desc, path_s desc, id, not_before)
    where state = 'ready' and paused = 0 and writes is null;
create index task_fork on task (fork_point) where fork_point is not null;
create unique index task_key on task (key) where key is not null;
create index task_account on task (account) where account > 0 and state not in ('done', 'failed', 'cancelled');

create table task_need (
    task  integer not null references task,
    need  integer not null references task,
    primary key (task, need)
) strict, without rowid;
create index task_need_of on task_need (need);

-- How many tasks there are and may be: one row, so that no call has to count them.
create table task_count (
    id            integer primary key check (id = 1),
    open          integer not null,              -- not final yet
    total         integer not null,              -- ever created
    most_open     integer not null default 1000000,
    most_total    integer not null default 10000000,
    most_depth    integer not null default 5,
    most_children integer not null default 50,   -- of one task
    attempts      integer not null default 3,    -- of a task that names no other number
    priority      integer not null default 0,    -- of a task that names none and whose role has none
    ageing_s      real not null default 14400    -- waiting that counts as much as one more of priority
) strict;

create table role (                              -- how long tasks of a role take, and what they get that name nothing else
    name       text primary key,
    estimate_s real,                             -- a moving average; null: not known yet
    finished   integer not null default 0,
    priority   integer,                          -- null: as the swarm has it
    attempts   integer,                          -- null: as the swarm has it
    agents     integer,                          -- so many of its tasks run at once; null: as many as there are slots
    writes     text,                             -- JSON, as a task's
    hedge      integer not null default 0        -- 1: a second copy of a straggler may run
) strict, without rowid;

create table plan (                              -- the plan that the swarm runs (prong apply): one row, or none
    id      integer primary key check (id = 1),
    path    text not null,                       -- where it stood
    digest  text not null,                       -- of its text, by which it is found again
    text    text not null,                       -- YAML
    files   text not null                        -- JSON: what the globs of each of its tasks have found
) strict;

create table plan_step (                         -- which task of the swarm is which of its plan's
    task     integer primary key references task,
    step     text not null,                      -- its name there
    place    integer,                            -- its place among those of a for_each; null: it is the step itself
    item     text,                               -- JSON: the one that it is for
    outcome  text check (outcome in ('skipped', 'expanded')),
    items    text                                -- JSON: all of its for_each while not all of them are tasks yet
) strict;
create index plan_step_name on plan_step (step, place);

-- A budget.  What is open for new calls is the bound less what is settled, reserved and lent; where an account has no
-- bound in a unit, the next one above that has one decides.  Every task spends from the account that its row names: its
-- own, or the one of whoever created it.  Money is counted in billionths of a dollar, so that no sum ever drifts.
create table account (
    task             integer primary key,        -- whose; 0: the swarm's
    lender           integer references account, -- out of whose bound it was cut, and where the rest flows back
    tokens           integer,                    -- the bounds; null: none
    nanousd          integer,
    settled_tokens   integer not null default 0, -- spent for good, here and by all accounts below
    settled_nanousd  integer not null default 0,
    reserved_tokens  integer not null default 0, -- the most that calls under way can spend, here and by those below that
    reserved_nanousd integer not null default 0, -- have no bound of their own
    lent_tokens      integer not null default 0, -- what those below that have one may still take
    lent_nanousd     integer not null default 0,
    warned_at        real,                       -- when most of it was spent, of which its agents are told; null: not yet
    closed_at        real                        -- null: open
) strict;
create index account_lender on account (lender) where closed_at is null;

create table reservation (                       -- a call of the model under way
    id      integer primary key,
    account integer not null references account,
    agent   integer not null references agent,
    tokens  integer not null,
    nanousd integer,                             -- null: the model's price is unknown
    at      real not null
) strict;
create index reservation_agent on reservation (agent);

create table surplus (                           -- by how much an endpoint has counted more than a call can have
    model   text primary key,                    -- '': one whose price is unknown
    tokens  integer not null                     -- the most; so much more is set aside for every call since
) strict, without rowid;

-- The conversation tree.  A message is immutable; a conversation is named by its last message; a fork shares every row.
-- A conversation that grew too long for its model goes on from a new root, which sums up the old one; that one is kept.
create table message (
    id          integer primary key,
    parent      integer references message,
    role        text not null check (role in ('user', 'assistant', 'system')),
    content     text not null,                   -- JSON, exactly as it goes over the wire
    task        integer,                         -- whose it is
    created_at  real not null,
    sums        integer references message       -- a new root: the last message of the conversation that it sums up
) strict;

-- What somebody said that a model costs and holds; it counts before the table that Prong brings along.
create table model (
    name   text primary key,
    record text not null                         -- JSON, as agents/models.py has it; without prices these are unknown
) strict;

-- One call of the model: what it cost, and what of the fork's prefix came from the cache.
create table model_call (
    id                  integer primary key,
    task                integer not null references task,
    agent               integer not null,
    message             integer references message,   -- the answer
    model               text not null,
    stop_reason         text not null,
    input_tokens        integer not null,
    cache_read_tokens   integer not null,
    cache_write_tokens  integer not null,
    output_tokens       integer not null,
    cache_write_1h_tokens integer not null default 0, -- how many of those written were written for an hour
    keeps               integer,                 -- the fork point that it only kept in the cache
    usd                 real,                    -- null: the model's price is unknown
    prefix_hash         text not null,           -- of system, tools and messages up to the fork point
    prefix_tokens       integer,                 -- how long the parent's request was; null: not the first call of a fork
    started_at          real not null,
    first_byte_at       real not null,
    ended_at            real not null
) strict;
create index model_call_task on model_call (task);
create index model_call_beginning on model_call (prefix_hash, model);

-- Tool calls of a turn whose results are not in the conversation yet, so that a restarted agent knows what ran.
create table tool_call (
    id          text primary key,                -- its turn's message and its place there
    task        integer not null references task,
    name        text not null,
    state       text not null check (state in ('running', 'ended')),
    result      text,                            -- JSON: {"text": …, "is_error": …}
    started_at  real not null,
    ended_at    real
) strict;
create index tool_call_task on tool_call (task);

-- Tasks that an outside agent works on keep their conversation with it, by whose name for it they go on or are forked.
create table worker_session (
    task     integer primary key references task,
    kind     text not null,                      -- which outside agent
    session  text not null,                      -- its own name for the conversation
    totals   text not null default '{}'          -- JSON: what it has counted, where it counts whole sessions
) strict;

-- Where the sessions forked from an outside agent's turn begin: its files as they were then lie in workers/MESSAGE.
create table worker_fork (
    message  integer primary key references message,
    kind     text not null,
    session  text not null,
    totals   text not null default '{}'
) strict;

-- A fork point is warm once a response to a request that holds its whole prefix has begun: from then on the prefix is
-- read from the prompt cache.  Until then one agent leads and the others wait.
create table fork_point (
    message    integer primary key references message,
    state      text not null check (state in ('cold', 'warming', 'warm', 'lost')),
    leader     integer,                          -- the agent whose request is on its way
    warm_until real,                             -- when the cache entry expires
    prefix_hash text not null,                   -- of all that its forks share: system, tools, messages
    model      text,                             -- whose cache it is
    asked_tokens integer,                        -- how long the request was that it answers
    prefix_tokens integer,                       -- the same with the answer: what each fork should read
    kept_until real,                             -- until when the cache should hold what its request wrote
    lifetime   text not null default '5m',       -- or '1h': for how long its entry is written
    kept_calls integer not null default 0,       -- requests since it was last used that only kept it in the cache
    proved     integer not null default 0,       -- 1: a child has read the prefix
    lost       text,                             -- JSON: what the first child found that has lost it
    brief      text,                             -- the summary up to here, made once for all who read it
    briefer    integer                           -- the agent that writes it
) strict;

-- A blocked call: who waits for what, since when, until when.  Whoever frees the object grants it in its own transaction
-- and rings bell number `id`; the row stays until the waiter has read it.
create table waiter (
    id        integer primary key autoincrement, -- never used again: a process may sleep on a row that is gone
    agent     integer not null references agent,
    task      integer,
    kind      text not null,                     -- lock, semaphore, event, condition, barrier, map, list, queue,
                                                 -- room, joined, future, tasks, slot, fork, merge,
                                                 -- budget, approval
    object    text not null,
    wants     text not null,                     -- JSON
    state     text not null check (state = 'waiting' or state = 'granted' or state = 'broken'),
    outcome   text,                              -- JSON
    since_at  real not null,
    until_at  real,                              -- null: for ever
    running   integer not null default 0,        -- how many other threads its process had as it began: while fewer
                                                 -- of them wait than that, the process is not blocked
    call      text                               -- the tool call that waits: made again it finds its place; null: none
) strict;
create index waiter_object on waiter (kind, object, id) where state = 'waiting';

create table waiter_task (                       -- which tasks a waiter of kind `tasks` looks at
    waiter  integer not null,
    task    integer not null,
    primary key (task, waiter)
) strict, without rowid;
create index waiter_task_of on waiter_task (waiter);

-- The row of a lock stays when it is free, so that its fence only grows.  Holders are found by reading all rows: an
-- index would cost every acquire and release more than it saves at a death.
create table lock (
    name         text primary key,
    holder       integer references agent,       -- who holds it alone; null: nobody does
    task         integer,
    fence        integer not null,               -- of the last grant
    lease_s      real not null,
    acquired_at  real,
    expires_at   real,                           -- null while it is free, or kept for a task between two agents
    kept         integer not null default 0,     -- 1: it is the task's, and outlives the task's agent
    thread       integer,                        -- which thread of the holder acquired it
    depth        integer not null default 0,     -- how often an RLock's thread has acquired it; 0: a Lock's grant
    key          text                            -- the call that acquired it, so that the same call finds it again
) strict, without rowid;

create table lock_share (                        -- those who share a lock, each under a fence of its own
    lock         text not null references lock,
    fence        integer not null,
    holder       integer references agent,       -- null: kept for a task between two agents
    task         integer,
    lease_s      real not null,
    acquired_at  real not null,
    expires_at   real,
    kept         integer not null default 0,
    key          text,
    primary key (lock, fence)
) strict, without rowid;

create table semaphore (
    name     text primary key,
    initial  integer not null,                   -- as whoever made it said; whoever says otherwise is refused
    bounded  integer not null,                   -- 1: never are more free than initially
    value    integer not null check (value >= 0), -- how many permits are free; none while somebody waits
    grants   integer not null default 0          -- how many were ever granted, which numbers them
) strict, without rowid;

create table permit (                            -- a permit that is lent
    semaphore    text not null references semaphore,
    holder       integer not null references agent,
    number       integer not null,
    task         integer,
    lease_s      real not null,
    acquired_at  real not null,
    expires_at   real,                           -- null: expired, or kept for a task between two agents
    expired      integer not null default 0,     -- 1: taken back from its holder, who has not released it yet
    kept         integer not null default 0,     -- 1: it is the task's, and outlives the task's agent
    key          text,                           -- the call that acquired it, so that the same call finds it again
    primary key (semaphore, holder, expired, number)
) strict, without rowid;

create table flag (                              -- the primitive Event; `event` is the log's
    name        text primary key,
    is_set      integer not null,
    updated_by  integer not null,
    updated_at  real not null
) strict, without rowid;

create table atomic (
    name        text primary key,
    value       text not null,                   -- JSON
    version     integer not null,                -- 1 for the first write; only grows
    updated_by  integer not null,
    updated_at  real not null
) strict, without rowid;

create table barrier (
    name     text primary key,
    parties  integer not null,
    round    integer not null default 0,         -- how often it has opened
    arrived  integer not null default 0,         -- how many have arrived since
    siblings integer,                            -- the fork point whose tasks are its parties, where it is a group
    acting   integer,                            -- who runs the action of a full round that has not opened yet
    actions  integer not null default 0,         -- how often an action was begun
    broken   text                                -- why; null: whole
) strict;
create index barrier_acting on barrier (acting) where acting is not null;

create table barrier_arrival (
    barrier  text not null references barrier,
    round    integer not null,
    place    integer not null,                   -- 0 for the first to arrive
    party    text,                               -- the arrival's name, so that it may be repeated; null: it has none
    agent    integer not null,
    task     integer,
    primary key (barrier, round, place)
) strict, without rowid;
create unique index barrier_party on barrier_arrival (barrier, party, round) where party is not null;

create table map_entry (
    map         text not null,
    key         text not null,
    version     integer not null,                -- 1 for the first write; only grows, over deletion too
    deleted     integer not null default 0,
    write       integer not null default 0,      -- which of the map's writes it was, so that a watch finds what is new
    event       integer,                         -- the log's entry of this write, which names the one before it
    updated_by  integer,
    updated_at  real not null,
    value       text not null,                   -- JSON, or the marker of an artifact
    primary key (map, key)
) strict, without rowid;
create index map_entry_write on map_entry (map, write);

create table map (                               -- counted with every write, so that nobody has to count
    name    text primary key,
    keys    integer not null,
    writes  integer not null
) strict;

-- A list's items stand at consecutive positions from `first` on; index i is position first + i, and a list that is
-- shortened at its front moves `first` only.
create table list (
    name    text primary key,
    first   integer not null,
    length  integer not null
) strict;

create table list_item (
    list      text not null,
    position  integer not null,
    value     text not null,                     -- JSON, or the marker of an artifact
    primary key (list, position)
) strict, without rowid;

create table once (                              -- what a named change returned, so that it is never made twice
    key     text primary key,                    -- the object, and the change's name there
    result  text not null                        -- JSON
) strict, without rowid;

create table queue (
    name        text primary key,
    discipline  text not null check (discipline in ('fifo', 'lifo', 'priority')),
    maxsize     integer not null,                -- 0: no bound
    attempts    integer not null,                -- failed deliveries after which a message is a dead letter
    lease_s     real not null,                   -- how long a delivery lasts after its reader's last heartbeat
    length      integer not null default 0,      -- how many are queued, counted only where there is a bound
    closed      text                             -- null: open; else how it was shut down: 'orderly' or 'immediate'
) strict;

create table subscription (                      -- what is published to a topic is put into each of its queues
    topic  text not null,
    queue  text not null references queue,
    primary key (topic, queue)
) strict, without rowid;

-- A message's number is that of the log's entry of its put, so that none is ever used again.
create table queue_message (
    id            integer primary key,
    queue         text not null,
    body          text not null,                 -- JSON
    priority      integer not null default 0,    -- higher goes first
    rank          real not null default 0,       -- among equals the lower goes first: the discipline's order
    sender        integer,
    sender_task   integer,
    put_at        real not null,
    holder        integer,                       -- null: still in the queue
    holder_task   integer,                       -- a delivery to a task outlives the task's agent
    delivery      text,                          -- the call that took it, so that the same call reads the same messages
    delivered_at  real,                          -- it ends lease_s after this, or after the reader's last heartbeat
    deliveries    integer not null default 0,    -- the fence of the delivery
    failures      integer not null default 0,    -- deliveries that ended badly since it was put or revived
    dead_at       real,                          -- since when it is a dead letter
    dead_reason   text
) strict;
create index queue_ready on queue_message (queue, priority desc, rank, id) where holder is null and dead_at is null;
create index queue_delivered on queue_message (delivery) where delivery is not null;
create index queue_holder on queue_message (queue, holder) where holder is not null;
create index queue_task on queue_message (holder_task) where holder_task is not null;
create index queue_dead on queue_message (queue, id) where dead_at is not null;

create table future (
    name       text primary key,
    state      text not null check (state = 'pending' or state = 'running' or state = 'done' or state = 'failed'
               or state = 'cancelled' or state = 'notified' or state = 'broken'),
    owner      integer references agent,         -- whose death breaks it; null: anybody may set it
    result     text,                             -- JSON
    error      text,                             -- JSON: what it failed with, or why it broke
    pickled    text,                             -- the same of a call where JSON cannot tell it; executors alone read it
    call       text,                             -- JSON: what an executor's workers are to run; null: a plain future
    caller     integer,                          -- who submitted the call
    attempt    integer not null default 0,       -- how many workers have begun the call
    set_at     real,
    forget_at  real                              -- when a call that nobody reads any more is removed
) strict;
create index future_owner on future (owner) where owner is not null;
create index future_caller on future (caller) where caller is not null;
create index future_forgotten on future (forget_at) where forget_at is not null;

create table future_watch (                      -- which process is to hear when a future changes
    future  text not null,
    bell    integer not null,                    -- rung as a waiter's is
    agent   integer not null,
    rung    integer not null default 0,          -- 1: it has changed, and the process has not looked yet
    primary key (future, bell)
) strict, without rowid;
create index future_watch_rung on future_watch (bell) where rung = 1;

-- The line of finished work.  Each merge commit bears its task's number, so a restart sees which were made.
--
--     waiting --> merged                the task is done
--       |  ^----> returned              its agent has it again, with the reason; handed in again it waits as before
--       +-------> resolving             after too many attempts another task makes the merge, and delivers in its place
--       +-------> kept                  the task has failed, its work is kept as a branch
--       +-------> dropped               the task was cancelled meanwhile, or its agent gave the change up
create table merge (
    task        integer primary key references task,
    base        text not null,                   -- the delta is what lies between this commit
    commit_id   text not null,                   -- and this one
    state       text not null check (state in
                ('waiting', 'merged', 'returned', 'resolving', 'kept', 'dropped', 'conflict')), -- conflict: as kept, once
    detail      text,
    attempt     integer not null default 1,      -- how often it was handed in
    onto        text,                            -- returned: the commit on which its agent goes on
    laid        integer not null default 0,      -- 1: its workspace stands there already
    markers     text,                            -- what must not stand in what is handed in next: conflict markers
    resolves    integer references task,         -- the task in whose place it delivers; null: its own
    resolver    integer references task,         -- the task that delivers in its place
    checking_at real,                            -- since when its check runs
    queued_at   real not null,                   -- when it was handed in first: its age
    ended_at    real
) strict;
create index merge_waiting on merge (queued_at, task) where state = 'waiting';
create index merge_resolving on merge (resolver) where state = 'resolving';

create table merge_attempt (                     -- every delivery that was sent back
    task      integer not null references task,
    attempt   integer not null,
    verdict   text not null check (verdict in ('conflict', 'check', 'markers', 'lease')),
    base      text not null,
    commit_id text not null,
    onto      text not null,                     -- what it was to go onto
    detail    text not null,                     -- the conflicts, or how the check ended
    output    text,                              -- what the check printed, bounded
    seconds   real,                              -- how long the check took
    at        real not null,
    primary key (task, attempt)
) strict, without rowid;

create table touch (                             -- which files of its workspace a task has changed, as far as it is seen
    task  integer not null references task,
    path  text not null,
    at    real not null,                         -- when it was seen last
    primary key (path, task)
) strict, without rowid;

create index touch_task on touch (task, at);

-- What tasks of a kind have changed, so that it can be guessed what the next one will: a kind is a role, or where a task
-- has none the task that created it.
create table habit (
    kind   text not null,
    path   text not null,                        -- '': the kind as a whole
    tasks  integer not null,                     -- how many of them have changed it, of those that were merged
    primary key (kind, path)
) strict, without rowid;
create index habit_often on habit (kind, tasks desc);

create table foreseen (                          -- two tasks that change the same lines, before either is merged
    path   text not null,
    one    integer not null references task,     -- the lower number
    other  integer not null references task,
    lines  text not null,                        -- in words
    at     real not null,
    primary key (path, one, other)
) strict, without rowid;

create table merger (                            -- who may advance the integration branch: one row
    id     integer primary key check (id = 1),
    fence  integer not null                      -- grows with each supervisor; one of an older fence is refused
) strict;

-- Which calls of tools are let through, asked about or refused, and who has said so.
create table permission (
    id      integer primary key,
    role    text,                                -- null: it is for all agents
    effect  text not null check (effect in ('allow', 'ask', 'deny', 'always', 'only', 'default')),
    rule    text not null,                       -- as it was written; for default what becomes of every other call
    source  text not null                        -- PRONG.md, the command line, whose answer it was
) strict;

-- A call that a person is asked about.  An agent that takes up the task makes the call again and finds it by its key.
create table approval (
    id          integer primary key,
    task        integer references task,         -- null: it is an outside client's call
    agent       integer not null references agent, -- who waits, or waited last
    key         text not null unique,            -- the call's
    tool        text not null,
    input       text not null,                   -- JSON, all of it
    rule        text,                            -- why it is asked about; null: every call is
    parts       text not null,                   -- JSON: the narrowest rules that let it through
    state       text not null default 'waiting' check (state in ('waiting', 'approved', 'denied')),
    reason      text,
    asked_at    real not null,
    answered_at real,
    answered_by text
) strict;
create index approval_waiting on approval (task) where state = 'waiting';

-- What people say to a task while it is open; it is read once, in the transaction that writes it into a conversation.
create table said (
    id        integer primary key,
    task      integer not null references task,
    text      text not null,
    who       text not null,
    said_at   real not null,
    message   integer references message,        -- the one of the conversation that holds it; null: not read yet
    heard_at  real
) strict;
create index said_unheard on said (task, id) where message is null;

-- The log: every transition, in order, never changed.
create table event (
    seq     integer primary key,
    at      real not null,                       -- wall clock
    agent   integer,
    task    integer,
    kind    text not null,
    object  text,
    data    text not null                        -- JSON
) strict;
create index event_task on event (task, seq) where task is not null;
-- What happens seldom and is looked up by its kind; a query uses it only where it repeats this list.
create index event_seldom on event (kind, seq) where (kind = 'command.cancel' or kind = 'command.pause'
    or kind = 'scheduler.admits' or kind = 'scheduler.refuses' or kind = 'swarm.created' or kind = 'swarm.running');

create trigger event_is_append_only_update before update on event
begin select raise(abort, 'the event log is append-only'); end;
create trigger event_is_append_only_delete before delete on event
begin select raise(abort, 'the event log is append-only'); end;
