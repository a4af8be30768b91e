"""The governor: real processes that call one provider, some of which are refused, stopped, or killed."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from prong.agents.emulator.options import EmulatorOptions
from prong.agents.emulator.process import EmulatorProcess
from prong.agents.governor.book import GROWTH, LONGEST_RETRY_AFTER_S, Book, Call
from prong.agents.governor.file import Identity, _head
from prong.agents.governor.governor import Governor, Wait, default_directory, family
from prong.agents.governor.headers import Told, limits, retry_after
from prong.agents.governor.turn import nothing

PROGRAM = Path(__file__).with_name("governed.py")
SCRIPTS = Path(__file__).parents[1] / "emulator" / "scripts.py"
IDENTITY = Identity("http://somewhere", "a-secret-key", "opus")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3] / ".src")}
PATIENCE_S = 40.0
HI = 'play {"turns": [[{"text": "hi"}]]}'


@pytest.fixture
def home(tmp_path):
    """Where the governor has its files."""
    return tmp_path / "governor"


@pytest.fixture
def governor(home, clock):
    """The test's own door to the governor, on a clock that stands still."""
    return Governor(home, IDENTITY, clock)


class Process:
    """A process that takes turns, from the side of the test."""

    def __init__(self, **settings):
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM), "turns", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=ENVIRONMENT,
        )

    def do(self, method, **options):
        return self.start(method, **options).result()

    def start(self, method, **options):
        self._process.stdin.write(json.dumps([method, options]).encode() + b"\n")
        self._process.stdin.flush()
        return self

    def result(self):
        assert select.select([self._process.stdout], [], [], PATIENCE_S)[0], "no answer came"
        return json.loads(self._process.stdout.readline())

    def busy(self):
        return not select.select([self._process.stdout], [], [], 0)[0]

    def signal(self, number):
        self._process.send_signal(number)

    def close(self):
        self._process.kill()
        self._process.wait(PATIENCE_S)
        self._process.stdin.close()
        self._process.stdout.close()


@pytest.fixture
def spawn(home, tmp_path, clock):
    assert clock.now() == 1_000_000_000  # it stands still, and its file is there
    made = []

    def spawn(*, ticking=False, **settings):
        time = {} if ticking else {"clock": str(tmp_path / "clock")}
        made.append(Process(directory=str(home), **time, **settings))
        return made[-1]

    yield spawn
    for process in made:
        with contextlib.suppress(BrokenPipeError):
            process.close()


def run(mode, **settings):
    subprocess.run([sys.executable, str(PROGRAM), mode, json.dumps(settings)], env=ENVIRONMENT, timeout=100, check=True)


@pytest.fixture
def begun(governor):
    """Begins so many turns in this process, which nobody makes wait; they end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda count, **more: [stack.enter_context(governor.turn(**more)) for _ in range(count)]


def let_go(governor):
    """Let go whoever may go now that the clock was moved."""
    governor.change(lambda _book, _now: None, nothing)


def waiting(governor, count):
    return lambda: governor.statistics().waiting == count


# --- how many at once


def test_many_processes_are_never_more_at_once_than_may_be(home, tmp_path):
    witness, log = tmp_path / "witness", tmp_path / "log"
    witness.mkdir()
    run(
        "crowd", directory=str(home), most=3, processes=12, calls=6, call_s=0.005, witness=str(witness), log=str(log),
    )  # fmt: skip
    seen = [int(line) for line in log.read_text().split()]
    assert len(seen) == 72
    assert max(seen) == 3


def test_one_congestion_halves_once_however_many_calls_it_refuses(governor, clock, begun):
    first, *others = begun(4)
    clock.advance(1)
    first.refused(429, {})
    assert governor.statistics().window == 32
    for turn in others:
        turn.refused(529, {})
    assert (governor.statistics().window, governor.statistics().episodes) == (32, 1)
    clock.advance(60)
    begun(1)[0].refused(529, {})
    assert (governor.statistics().window, governor.statistics().episodes) == (16, 2)


def test_the_window_never_falls_below_one_and_grows_back_to_where_it_was(governor, clock, begun):
    for _ in range(10):
        clock.advance(60)
        begun(1)[0].refused(429, {})
    clock.advance(60)
    assert (governor.statistics().window, governor.statistics().concurrency) == (1, 1)
    successes = 0
    while governor.statistics().window < 64:
        before = governor.statistics().window
        begun(1)[0].answered({})
        successes += 1
        assert governor.statistics().window == before + GROWTH
    begun(1)[0].answered({})
    assert (successes, governor.statistics().window) == (63 / GROWTH, 64)


def test_only_few_begin_until_the_provider_has_answered_somebody(governor, begun, spawn, until):
    eight = begun(8)
    ninth = spawn().start("begin")
    until(waiting(governor, 1), "the ninth in line")
    eight[0].heard({})
    assert ninth.result() == []


def test_a_server_fault_makes_all_pause_longer_each_time_but_does_not_halve(governor, clock, begun):
    pauses = []
    for _ in range(12):
        begun(1)[0].refused(500, {})
        pauses.append(governor.statistics().closed_for_s)
        clock.advance(40)
    assert 0.25 <= pauses[0] <= 0.5
    assert 15 <= pauses[-1] <= 30
    assert governor.statistics().window == 64
    begun(1)[0].answered({})
    begun(1)[0].refused(500, {})
    assert governor.statistics().closed_for_s <= 0.5


# --- closed


def test_a_retry_after_that_one_hears_is_obeyed_by_all_who_then_return_one_by_one(governor, clock, begun, spawn, until):
    begun(1)[0].refused(429, {"retry-after": "30"})
    callers = [spawn().start("begin") for _ in range(3)]
    until(waiting(governor, 3), "three in line")
    clock.advance(29.9)
    let_go(governor)
    assert governor.statistics().in_flight == 0
    clock.advance(1.2)  # the spread included
    let_go(governor)
    until(lambda: sum(not caller.busy() for caller in callers) == 1, "one has begun")
    assert governor.statistics().in_flight == 1
    clock.advance(2.1)
    let_go(governor)
    until(lambda: sum(not caller.busy() for caller in callers) == 2, "two have begun")
    # Two may fly as long as nobody was answered; the third waits for that.
    assert (governor.statistics().in_flight, governor.statistics().waiting) == (2, 1)
    first = next(caller for caller in callers if not caller.busy())
    assert "keep away" in first.result()[0]
    first.do("answered")
    until(waiting(governor, 0), "the third has begun")


def test_a_retry_after_beyond_the_longest_is_not_obeyed_to_its_end(begun):
    pause = begun(1)[0].refused(429, {"retry-after": "86400"})
    assert LONGEST_RETRY_AFTER_S <= pause.seconds <= LONGEST_RETRY_AFTER_S + 1


def test_what_began_before_a_closing_neither_prolongs_it_nor_counts_as_another_failure(governor, clock, begun):
    first, second = begun(2)
    clock.advance(1)
    first.refused(529, {})
    before = governor.statistics().closed_for_s
    second.refused(529, {})
    assert governor.statistics().closed_for_s == before


def test_a_stream_that_breaks_is_its_own_calls_trouble_and_no_answer_at_all_is_everybodys(governor, begun):
    broken, unanswered = begun(2)
    broken.heard({})
    assert broken.failed().own_s > 0
    assert governor.statistics().closed_for_s == 0
    assert unanswered.failed().own_s > 0
    assert governor.statistics().closed_for_s > 0


def test_a_conflict_pauses_only_its_own_call(governor, begun):
    assert begun(1)[0].refused(409, {}).own_s > 0
    assert governor.statistics().closed_for_s == 0


# --- the line


def test_the_highest_priority_goes_first_and_then_the_longest_waiting(governor, spawn, until):
    holder = spawn(most=1)
    holder.do("begin")
    callers = {}
    for count, (name, priority) in enumerate([("a", 0), ("b", 5), ("c", 5), ("d", 1)], 1):
        callers[name] = spawn(most=1).start("begin", priority=priority)
        until(waiting(governor, count), f"{count} in line")
    order = []
    for _ in range(4):
        holder.do("leave")
        begun = until(lambda: [name for name, one in callers.items() if not one.busy()], "the next")
        assert len(begun) == 1
        order += begun
        holder = callers.pop(begun[0])
        holder.result()
    assert order == ["b", "c", "d", "a"]


def test_a_minute_of_waiting_counts_as_one_more_of_priority(governor, clock, spawn, until):
    holder, old, new = (spawn(most=1) for _ in range(3))
    holder.do("begin")
    old.start("begin", priority=0)
    until(waiting(governor, 1), "the old one in line")
    clock.advance(61)
    new.start("begin", priority=1)
    until(waiting(governor, 2), "the new one in line")
    holder.do("leave")
    old.result()
    assert new.busy()


def test_a_priority_that_rises_while_its_call_waits_counts(governor, spawn, until, tmp_path):
    holder, first, raised = (spawn(most=1) for _ in range(3))
    value = tmp_path / "priority"
    value.write_text("0")
    holder.do("begin")
    first.start("begin", priority=3)
    until(waiting(governor, 1), "the first in line")
    raised.start("begin", priority_in=str(value))
    until(waiting(governor, 2), "the raised one in line")
    value.write_text("9")
    until(lambda: governor._file.peek().line()[0].priority == 9, "the new priority")
    holder.do("leave")
    raised.result()
    assert first.busy()


def test_a_wait_is_told_once_it_is_long_with_its_reason(home, clock, until):
    governor = Governor(home, IDENTITY, clock, most_at_once=1)
    told = []

    def call():
        with governor.turn(waits=told.append) as turn:
            turn.answered({})

    waiter = threading.Thread(target=call)
    with governor.turn():
        waiter.start()
        until(waiting(governor, 1), "one in line")
        clock.advance(5)
        until(lambda: told, "word of the wait")
    waiter.join(PATIENCE_S)
    assert told == [Wait("concurrency", "1 calls are in flight, and more at once are not sent now", 0.0)]


# --- death


def test_a_process_that_is_killed_in_flight_frees_its_place(governor, spawn, until):
    killed, next_ = spawn(most=1), spawn(most=1)
    killed.do("begin")
    next_.start("begin")
    until(waiting(governor, 1), "the next in line")
    killed.close()
    next_.result()
    assert governor.statistics().in_flight == 1


def test_a_process_that_is_killed_in_line_keeps_nobody(governor, spawn, until):
    holder, killed, next_ = (spawn(most=1) for _ in range(3))
    holder.do("begin")
    killed.start("begin", priority=1)
    until(waiting(governor, 1), "the first in line")
    next_.start("begin")
    until(waiting(governor, 2), "the next in line")
    killed.close()
    holder.do("leave")
    next_.result()
    until(waiting(governor, 0), "the line is empty")


def test_a_process_that_stands_still_in_line_loses_its_place_to_the_next_until_it_goes_on(governor, spawn, until):
    holder, stopped, next_ = (spawn(most=1, ticking=True) for _ in range(3))
    holder.do("begin")
    stopped.start("begin", priority=1)
    until(waiting(governor, 1), "the first in line")
    stopped.signal(signal.SIGSTOP)
    next_.start("begin")
    holder.do("leave")
    next_.result()
    stopped.signal(signal.SIGCONT)
    next_.do("leave")
    stopped.result()


def test_a_fork_neither_gives_up_its_parents_place_nor_is_hindered_by_it(governor, spawn):
    parent = spawn()
    parent.do("begin")
    assert parent.do("fork_and_leave") == 0
    assert (governor.statistics().in_flight, governor.statistics().answered) == (1, 1)
    parent.do("answered")
    assert (governor.statistics().in_flight, governor.statistics().answered) == (0, 2)


def test_threads_of_one_process_have_a_turn_each(home):
    governor = Governor(home, IDENTITY, most_at_once=1)
    done = []

    def call():
        with governor.turn() as turn:
            assert governor.statistics().in_flight == 1
            turn.answered({})
            done.append(1)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(done) == 8


# --- the file


def test_nothing_is_opened_before_the_first_turn(governor, home):
    assert not home.exists()
    with governor.turn():
        pass
    assert home.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in home.iterdir()} == {0o600}


def test_the_key_stands_neither_in_a_files_name_nor_in_a_file(home, spawn, until):
    spawn(most=1).do("begin")
    spawn(most=1).start("begin")
    until(lambda: len(list(home.iterdir())) == 3, "all files in use")
    for path in home.iterdir():
        assert IDENTITY.key not in path.name
        assert IDENTITY.key.encode() not in path.read_bytes()
    assert IDENTITY.key not in repr(IDENTITY)


def test_calls_share_limits_by_address_key_and_family(home):
    def book(*identity):
        with Governor(home, Identity(*identity)).turn():
            return {path.name for path in home.glob("*.book")}

    assert len(book("http://a", "k", "opus")) == 1
    assert len(book("http://a/", "k", "opus")) == 1
    assert len(book("http://a", "l", "opus")) == 2
    assert len(book("http://a", "k", "haiku")) == 3
    assert family("claude-opus-5-5") == family("claude-opus-4-8")
    assert family("unheard-of") == "unheard-of"


def test_the_default_place_is_the_users_own(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_directory() == tmp_path / "prong" / "governor"
    monkeypatch.delenv("XDG_STATE_HOME")
    assert default_directory() == Path.home() / ".local" / "state" / "prong" / "governor"


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\0" * 4096, b"\xff" * 10_000])
def test_a_damaged_file_is_begun_anew_and_loses_no_call(governor, home, begun, damage):
    in_flight = begun(1)[0]
    (book,) = home.glob("*.book")
    book.write_bytes(damage)
    with capture_logs() as logs:
        begun(2)
        assert in_flight.refused(429, {}).own_s > 0  # nobody knows it any more, so it pauses by itself
    assert [log["event"] for log in logs] == (["governor.renewed"] if damage else [])
    assert governor.statistics().in_flight == 2


def test_a_directory_that_vanishes_is_made_again(governor, home, begun):
    begun(1)
    for path in home.iterdir():
        path.unlink()
    home.rmdir()
    begun(1)[0].answered({})
    assert governor.statistics().answered == 1


def test_where_the_file_cannot_be_used_calls_pass_and_it_is_said_once(tmp_path, clock):
    (tmp_path / "file").touch()
    governor = Governor(tmp_path / "file" / "governor", IDENTITY, clock)
    with capture_logs() as logs:
        for _ in range(3):
            with governor.turn() as turn:
                turn.heard({})
                turn.answered()
        with governor.turn() as turn:
            assert turn.refused(429, {"retry-after": "7"}).own_s >= 7
    assert [log["event"] for log in logs] == ["governor.bypassed"]
    assert governor.statistics().answered == 0


def test_a_process_that_stands_still_in_the_middle_of_a_change_holds_up_nobody_for_long(governor, home, begun, spawn):
    begun(1)[0].refused(529, {"retry-after": "0"})
    (book,) = home.glob("*.book")
    spawn().do("keep_the_lock", path=str(book))
    with capture_logs() as logs:
        begun(1)[0].answered({})
    assert [log["event"] for log in logs] == ["governor.renewed"]
    assert (governor.statistics().refusals, governor.statistics().answered) == (1, 1)
    assert len(list(home.glob("*.book*"))) == 1


def test_a_change_that_was_made_in_a_file_that_is_no_longer_the_one_is_made_again(governor, home):
    with governor.turn():
        pass
    (path,) = home.glob("*.book")
    seen = []

    def decide(book):
        if not seen:
            path.unlink()
            path.touch()
        seen.append(1)
        book.answered += 1

    governor._file.change(decide)
    assert (len(seen), governor.statistics().answered) == (2, 1)


def test_after_a_boot_what_was_learnt_stays_and_what_was_under_way_is_gone(governor, home, begun):
    begun(1)[0].heard(headers(requests=(50, 20)))
    begun(1)[0].refused(429, {"retry-after": "60"})
    (path,) = home.glob("*.book")
    rewrite_boot(path)
    now = governor.statistics()
    assert (now.in_flight, now.closed_for_s, now.window) == (0, 0, 32)
    assert [(limit.kind, limit.limit, limit.remaining) for limit in now.limits] == [("requests", 50, 50)]


def rewrite_boot(path):
    """Write the book's header as another boot would have."""
    data = bytearray(path.read_bytes())
    data[12:48] = b"another boot".ljust(36)
    data[:4] = zlib.crc32(bytes(data[4 : 4 + _head.size])).to_bytes(4, "little")
    path.write_bytes(data)


# --- limits


def headers(**told):
    found = {}
    for kind, (limit, remaining) in told.items():
        prefix = f"anthropic-ratelimit-{kind.replace('_', '-')}-"
        found |= {prefix + "limit": str(limit), prefix + "remaining": str(remaining)}
    return found


def call(ticket, **more):
    return Call(ticket, 1, 0, -1, **({"priority": 0, "since": 0.0, "input": 0, "output": 0} | more))


def test_calls_wait_for_what_the_headers_leave(governor, clock, begun, spawn, until):
    begun(1)[0].answered(headers(requests=(60, 2)))
    begun(2)
    third = spawn().start("begin")
    until(waiting(governor, 1), "the third in line")
    let_go(governor)
    assert governor.statistics().in_flight == 2
    clock.advance(1)  # one request a second
    third.result()


def test_what_is_on_its_way_is_reserved_until_its_response_has_counted_it():
    book = Book(opened=64)
    book.enrol(call(1))
    book.admit(10.0, 0.5)
    book.hear(book.calls[1], limits(headers(input_tokens=(600, 500), output_tokens=(600, 600)), 0), 11.0)
    for ticket in (2, 3, 4):
        book.enrol(call(ticket, input=200, output=10))
    granted, hold = book.admit(11.0, 0.5)
    assert [one.ticket for one in granted] == [2, 3]
    # 10 tokens a second; 100 of the next one's 200 are there.
    assert (hold.why, hold.kind, hold.until) == ("limit", "input-tokens", 21.0)
    book.hear(book.calls[2], limits(headers(input_tokens=(600, 300), output_tokens=(600, 600)), 0), 12.0)
    assert [one.ticket for one in book.admit(22.0, 0.5)[0]] == [4]


def test_what_would_never_fit_waits_for_all_there_is():
    book = Book(opened=64)
    book.enrol(call(1))
    book.admit(0.0, 0.5)
    book.hear(book.calls[1], limits(headers(input_tokens=(600, 0)), 0), 0.0)
    book.answer(book.calls[1], (0, 0), 0.0, 64)
    book.enrol(call(2, input=10_000))
    assert book.admit(59.0, 0.5)[1].until == pytest.approx(60.0)
    assert len(book.admit(60.0, 0.5)[0]) == 1


def test_the_output_of_a_call_is_taken_off_when_it_ends_and_the_next_is_guessed_by_it():
    book = Book(opened=64)
    book.enrol(call(1))
    book.admit(0.0, 0.5)
    book.hear(book.calls[1], limits(headers(output_tokens=(600, 600)), 0), 0.0)
    book.answer(book.calls[1], (5, 700), 0.0, 64)
    book.enrol(call(2, output=-1))
    assert book.calls[2].output == 700
    granted, hold = book.admit(0.0, 0.5)
    assert (granted, hold.kind, hold.until) == ([], "output-tokens", pytest.approx(70.0))


def test_an_older_response_does_not_undo_what_a_newer_one_told():
    book = Book(opened=64)
    for ticket, now in ((1, 1.0), (2, 2.0)):
        book.enrol(call(ticket))
        book.admit(now, 0.5)
    book.hear(book.calls[2], {"requests": Told(100, 10, None)}, 3.0)
    book.hear(book.calls[1], {"requests": Told(100, 90, None)}, 4.0)
    assert book.buckets["requests"].level == 10


def test_a_reset_that_is_far_away_slows_the_refilling_down():
    book = Book()
    book.buckets["requests"].learn(Told(60, 0, 600.0), now=0.0, as_of=0.0)
    assert book.buckets["requests"].available(60.0) == pytest.approx(6.0)


def test_headers_that_make_no_sense_tell_nothing():
    prefix = "anthropic-ratelimit-requests-"
    assert limits({prefix + "limit": "many", prefix + "remaining": "1"}, 0) == {}
    assert limits({prefix + "limit": "0", prefix + "remaining": "0"}, 0) == {}
    assert limits({prefix + "limit": "inf", prefix + "remaining": "nan"}, 0) == {}
    odd = {prefix + "limit": "5", prefix + "remaining": "9", prefix + "reset": "tomorrow"}
    assert limits(odd, 0) == {"requests": Told(5, 5, None)}
    assert retry_after({"retry-after": "soon"}, 0) is None
    assert retry_after({"retry-after": "-3"}, 0) == 0


def test_the_reset_is_measured_by_the_providers_own_clock():
    told = headers(requests=(5, 1)) | {"anthropic-ratelimit-requests-reset": "2026-01-01T00:00:30Z"}
    assert limits(told | {"date": "Thu, 01 Jan 2026 00:00:10 GMT"}, 0)["requests"].resets_in_s == 20
    assert limits(told, 0)["requests"].resets_in_s is None


def test_the_sum_of_tokens_counts_only_where_nothing_else_is_told():
    assert set(limits(headers(tokens=(5, 1)), 0)) == {"tokens"}
    assert set(limits(headers(tokens=(5, 1), input_tokens=(4, 1)), 0)) == {"input-tokens"}


# --- through the SDK


@pytest.mark.long
def test_learnt_limits_are_kept_by_all_processes_together(home, tmp_path):
    options = EmulatorOptions(requests_per_minute=120, input_tokens_per_minute=10**9)
    log = tmp_path / "log"
    with EmulatorProcess(script_files=[SCRIPTS], options=options) as emulator:
        run(
            "ask", directory=str(home), url=emulator.url, processes=8, calls=16, prompt=HI, log=str(log),
        )  # fmt: skip
        statuses = emulator.health()["statuses"]
    assert len(log.read_text().split()) == 128
    assert statuses["200"] == 128
    assert statuses.get("429", 0) <= 2


@pytest.mark.long
def test_a_storm_of_refusals_costs_waiting_and_hardly_more_requests_than_it_must(home, tmp_path):
    # The hundredth good answer of this seed is the 233rd of all: whoever asks more than it must comes out higher.
    options = EmulatorOptions(faults={"429": 0.5, "529": 0.05, "truncate": 0.05}, retry_after_s=0.05, seed=8)
    log = tmp_path / "log"
    with EmulatorProcess(script_files=[SCRIPTS], options=options) as emulator:
        run(
            "ask", directory=str(home), url=emulator.url, processes=20, calls=5, prompt=HI, log=str(log),
        )  # fmt: skip
        total = emulator.health()["requests"]
        faulty = sum(entry["fault"] is not None or entry["status"] != 200 for entry in emulator.journal())
    assert log.read_text().split() == ["hi"] * 100
    assert total <= 240
    assert faulty >= 100
