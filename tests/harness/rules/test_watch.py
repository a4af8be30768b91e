"""Rereading the rules: every way of saving is seen, the last change always, and no half of one."""

import contextlib
import threading
from pathlib import Path

import pytest
from tests.stepped import until
from watchdog.events import FileDeletedEvent, FileModifiedEvent, FileMovedEvent

from prong.harness.rules.rules import FILE, Rules, RulesInvalid, load, parse
from prong.harness.rules.watch import _Watcher, watch


def text(agents):
    return f"---\nlimits:\n  agents: {agents}\n---\nBe kind.\n"


def write_into(file, content):
    file.write_text(content)


def put_in_its_place(file, content):
    beside = file.with_name(f".{FILE}.swp")
    beside.write_text(content)
    beside.replace(file)


def remove_and_make_again(file, content):
    file.unlink(missing_ok=True)
    file.write_text(content)


def keep_the_old_beside(file, content):
    """As vim does: the old file gets another name, and a new one is made."""
    if file.exists():
        file.rename(file.with_name(f"{FILE}~"))
    file.write_text(content)


def write_in_pieces(file, content):
    with file.open("w") as opened:
        for one in content:
            opened.write(one)
            opened.flush()


def move_in_from_elsewhere(file, content):
    other = file.parent / "elsewhere"
    other.mkdir(exist_ok=True)
    (other / "new").write_text(content)
    (other / "new").rename(file)


AT_ONCE = [put_in_its_place, move_in_from_elsewhere]
SAVES = [*AT_ONCE, write_into, remove_and_make_again, keep_the_old_beside, write_in_pieces]


class Rests:
    """In place of rests that take time: at each, what happens to the file meanwhile."""

    def __init__(self, *meanwhile):
        self._meanwhile = list(meanwhile)

    def wait(self, _seconds):
        self._meanwhile.pop(0)()

    def is_set(self):
        return False


@pytest.fixture
def file(tmp_path):
    return tmp_path / FILE


@pytest.fixture
def watched(file):
    """Begins to watch with what the file says now; what it is told is in the list that it returns."""
    with contextlib.ExitStack() as stack:

        def begin(known=None):
            told = []
            stack.enter_context(watch(file.parent, told.append, known=load(file.parent) if known is None else known))
            return told

        yield begin


def agents(told):
    """How many agents the last word allows; None without one, or where the last word is an error."""
    return told[-1].limits.agents if told and isinstance(told[-1], Rules) else None


@pytest.mark.parametrize("save", SAVES)
def test_every_way_of_saving_is_seen_and_is_never_no_rules(file, watched, save):
    file.write_text(text(4))
    told = watched()
    for number in (5, 6):
        save(file, text(number))
        until(lambda number=number: agents(told) == number, f"{number} agents")
    assert Rules.none() not in told


@pytest.mark.parametrize("save", AT_ONCE)
def test_a_file_that_is_put_in_place_is_told_once(file, watched, save):
    file.write_text(text(4))
    told = watched()
    for number in (5, 6):
        save(file, text(number))
        until(lambda number=number: agents(told) == number, f"{number} agents")
    assert [one.limits.agents for one in told] == [5, 6]


@pytest.mark.parametrize("save", SAVES)
def test_of_many_quick_changes_the_last_is_told(file, watched, save):
    told = watched()
    for number in range(1, 200):
        save(file, text(number))
    until(lambda: agents(told) == 199, "the last change")
    assert save not in AT_ONCE or {type(one) for one in told} == {Rules}


def test_a_file_that_comes_is_seen_and_one_that_goes_is_no_rules(file, watched):
    told = watched()
    file.write_text(text(5))
    until(lambda: agents(told) == 5, "the new file")
    file.unlink()
    until(lambda: told[-1] == Rules.none(), "no rules")
    assert len(told) == 2


def test_a_change_before_the_watch_began_is_told(file, watched):
    file.write_text(text(5))
    told = watched(known=Rules.none())
    until(lambda: agents(told) == 5, "the change")


def test_a_mistake_is_told_and_mending_it_too(file, watched):
    file.write_text(text(4))
    told = watched()
    file.write_text(text("many"))
    until(lambda: told, "the mistake")
    assert isinstance(told[0], RulesInvalid)
    assert told[0].line == 3
    file.write_text(text(4))
    until(lambda: len(told) == 2, "the mended file")
    assert told[1] == load(file.parent)


def test_what_says_the_same_is_no_change(file, watched):
    file.write_text(text(4))
    told = watched()
    file.write_text(text("4  # as before"))
    (file.parent / "OTHER.md").write_text(text(9))
    put_in_its_place(file, text(4))
    file.write_text(text(5))
    until(lambda: agents(told) == 5, "a real change")
    assert len(told) == 1


def test_the_target_of_a_link_is_looked_at(file, watched, tmp_path_factory):
    target = tmp_path_factory.mktemp("other") / "rules.md"
    target.write_text(text(4))
    file.symlink_to(target)
    told = watched()
    target.write_text(text(5))
    until(lambda: agents(told) == 5, "the change of the target")


def test_without_the_kernels_word_changes_are_seen_all_the_same(tmp_path):
    root = tmp_path / "later"  # it cannot be watched before it is there
    told = []
    with watch(root, told.append, known=Rules.none()):
        root.mkdir()
        (root / FILE).write_text(text(5))
        until(lambda: agents(told) == 5, "the file")
        (root / FILE).write_text(text(6))
        until(lambda: agents(told) == 6, "its change")


def test_the_end_of_the_block_is_the_end_of_the_watch(file):
    told = []
    before = threading.active_count()
    with watch(file.parent, told.append, known=Rules.none()):
        pass
    assert threading.active_count() == before
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with watch(file.parent, told.append, known=Rules.none()):
        file.write_text(text(5))
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    file.write_text(text(6))
    assert agents(told) in (None, 5)


def test_an_error_of_the_caller_is_raised_at_the_end(file):
    def fail(_rules):
        seen.set()
        raise ValueError("no room")

    seen = threading.Event()
    file.write_text(text(5))
    with pytest.raises(ValueError, match="no room"), watch(file.parent, fail, known=parse("", FILE)):
        until(seen.is_set, "a call")


# One look, and what happens meanwhile.


@pytest.mark.parametrize("half", ["", "---\nlimits:\n  ag", "---\nlimits:\n  agents: x\n---\n", None])
def test_what_is_away_empty_or_wrong_is_looked_at_once_more_before_it_is_believed(file, half):
    told = []
    watcher = _Watcher(file.parent, told.append, parse(text(4), FILE))
    file.write_text(text(4))
    before = file.unlink if half is None else lambda: file.write_text(half)
    watcher._over = Rests(before, lambda: file.write_text(text(5)))
    watcher._look()
    assert [agents([one]) for one in told] == [5]
    watcher._over = Rests(before, lambda: None)
    watcher._look()
    assert len(told) == 2
    assert isinstance(told[1], RulesInvalid) or told[1] == Rules.none()


@pytest.mark.parametrize("content", [text(4), text(5), text("x"), ""])
def test_what_was_told_is_not_told_again(file, content):
    told = []
    watcher = _Watcher(file.parent, told.append, parse(text(4), FILE))
    file.write_text(content)
    for _ in range(3):
        watcher._over = Rests(*[lambda: None] * 2)
        watcher._look()
    assert len(told) == (content != text(4))


def test_a_ring_during_a_look_is_heard_after_it_and_one_before_is_not(file):
    watcher = _Watcher(file.parent, lambda _rules: ring(), Rules.none())

    def ring():
        watcher.on_any_event(FileModifiedEvent(str(file)))

    file.write_text(text(5))
    watcher._over = Rests(ring)
    watcher._look()
    assert watcher._rung.is_set()  # the callback's, not that of the rest before
    watcher._over = Rests(ring)
    watcher._look()
    assert not watcher._rung.is_set()


@pytest.mark.parametrize(
    ("event", "rings"),
    [
        (FileMovedEvent(".PRONG.md.swp", FILE), True),
        (FileMovedEvent(FILE, "PRONG.md~"), True),
        (FileDeletedEvent(FILE), True),
        (FileModifiedEvent("README.md"), False),
        (FileMovedEvent("a", "b"), False),
    ],
)
def test_only_what_happens_to_the_file_rings(file, event, rings):
    watcher = _Watcher(file.parent, lambda _rules: None, Rules.none())
    watcher.on_any_event(event)
    assert watcher._rung.is_set() == rings
