"""How commands and shells end: after too long, when they are closed, and beside others."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from prong.agents.tools import ToolError
from prong.agents.tools.processes import Process, Start, end, look_up, of_command

SHORT_S = 0.5


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def hurried(make, call):
    """A shell whose commands may take only a moment."""
    tools = make(timeout_s=SHORT_S)
    return lambda command: call(tools, "bash", command=command)


def test_a_command_that_takes_too_long_is_ended_and_its_output_so_far_is_told(hurried, running):
    with pytest.raises(ToolError, match=r"(?s)^so far\n\[the command took longer than 0.5 s; .*background"):
        hurried("echo so far; sleep 100")
    assert running() == []


def test_when_time_is_over_no_shell_tells_of_its_child_or_begins_its_next_command(hurried):
    subshells = "for n in {1..20}; do (sleep 100; echo next) & done; wait; echo next"
    with pytest.raises(ToolError, match=r"^so far\n\[the command took longer"):
        hurried(f"echo so far; {subshells}")


@pytest.mark.parametrize("_time", range(15))  # Which of the two the kernel lets run first is chance.
def test_a_shell_that_is_signalled_long_after_its_child_does_not_go_on(_time):
    with subprocess.Popen(["bash", "-c", "sleep 100 & echo $!; wait; echo next"], stdout=subprocess.PIPE) as shell:
        child = look_up(int(shell.stdout.readline()))
        late = [*[child] * 255, look_up(shell.pid)]
        end(lambda: [one for one in late if look_up(one.pid)])
        assert shell.stdout.read() == b""


def test_all_that_it_started_is_ended_however_it_tried_to_get_away(hurried, running):
    with pytest.raises(ToolError):
        hurried("sleep 100 & (setsid sleep 100 &) ; nohup sleep 100 & env -i sleep 100 & sleep 100 | sleep 100")
    assert running() == []


@pytest.mark.parametrize(
    "start",
    [
        "(env -i sleep 100 >/dev/null 2>&1 & echo $!)",  # an orphan without the mark, but in the session
        "setsid env -i sleep 100 >/dev/null 2>&1 & echo $!",  # no mark and another session, but a child
        "(setsid sleep 100 >/dev/null 2>&1 & echo $!)",  # an orphan in another session, but with the mark
    ],
)
def test_any_one_trace_is_enough_to_find_a_process(make, call, start):
    tools = make()
    pid = int(call(tools, "bash", command=start))
    process = psutil.Process(pid)
    tools.close()
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_of_two_commands_within_a_tick_only_the_later_ones_children_are_ended():
    shell, earlier, worker, later = (
        Process(pid=pid, parent=parent, session=10, started=started)
        for pid, parent, started in ((10, 1, 500), (11, 10, 700), (12, 11, 700), (13, 10, 700))
    )
    members = {process.pid: process for process in (shell, earlier, worker, later)}
    start = Start(ticks=700, children=frozenset({earlier.pid}))
    assert of_command(members, shell=shell.pid, since=start) == {shell.pid: shell, later.pid: later}


def test_what_ignores_sigterm_is_killed(hurried, running):
    with pytest.raises(ToolError):
        hurried("trap '' TERM; sleep 100")
    assert running() == []


def test_a_stopped_shell_is_ended_too(hurried):
    with pytest.raises(ToolError):
        hurried("kill -STOP $$")
    assert hurried("echo hello") == "hello"


def test_a_shell_that_no_longer_executes_is_replaced(hurried):
    with pytest.raises(ToolError, match="took longer"):
        hurried("set -n")
    assert hurried("echo hello") == "hello"


def test_after_a_timeout_the_next_command_runs_in_the_same_directory(hurried, workspace):
    with pytest.raises(ToolError):
        hurried("mkdir sub; cd sub; sleep 100")
    assert hurried("pwd") == f"{workspace}/sub"


def test_what_earlier_commands_left_in_the_background_survives_a_timeout(hurried, running):
    hurried("(while :; do sleep 0.2; done) >/dev/null 2>&1 &")
    with pytest.raises(ToolError):
        hurried("sleep 100")
    assert "bash" in running()


def test_closing_ends_everything_and_refuses_more(make, call, running):
    tools = make()
    call(tools, "bash", command="sleep 100 & (setsid sleep 100 &); nohup sleep 100 >/dev/null & disown -a; exec 9>&1")
    tools.close()
    assert running() == []
    with pytest.raises(ToolError, match="closed"):
        call(tools, "bash", command="echo hello")
    tools.close()


def test_closing_does_not_wait_for_a_command_that_runs(make, call, scratch):
    tools = make(timeout_s=100)
    os.mkfifo(scratch / "gate")
    with ThreadPoolExecutor() as pool:
        result = pool.submit(call, tools, "bash", command=f"echo begun >{scratch}/gate; sleep 100")
        (scratch / "gate").read_text()
        tools.close()
        assert "ended the shell itself" in result.result()


def test_two_commands_at_once_wait_for_each_other(make, call):
    tools = make()
    call(tools, "bash", command="n=0")
    with ThreadPoolExecutor(8) as pool:
        command = 'mkdir busy && n=$((n + 1)); echo "$n"; rmdir busy'
        results = list(pool.map(lambda _: call(tools, "bash", command=command), range(40)))
    assert sorted(map(int, results)) == list(range(1, 41))


def test_each_workspaces_shell_is_its_own(make, call):
    one, other = make(), make()
    call(one, "bash", command="x=1; sleep 100 >/dev/null 2>&1 &")
    assert call(other, "bash", command="echo x=$x") == "x="
    other.close()
    assert call(one, "bash", command="echo x=$x; jobs -r | wc -l") == "x=1\n1"


def test_no_descriptor_is_leaked(bash, hurried):
    bash("true")
    hurried("true")
    before = descriptors()
    for _ in range(20):
        bash("echo hello; nosuchcommand")
        bash("seq 100000")
        bash("exit 1")
    with pytest.raises(ToolError):
        hurried("sleep 100")
    bash("true")
    hurried("true")
    assert descriptors() == before


def test_a_command_inherits_no_descriptor_of_ours(bash):
    assert bash("ls /proc/self/fd") == "0\n1\n2\n3"


def test_tools_made_before_a_fork_work_in_every_child(tmp_path):
    (tmp_path / "program.py").write_text(FORKING)
    program = [sys.executable, tmp_path / "program.py", tmp_path]
    result = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert sorted(result.stdout.split()) == ["0", "1", "2"]


FORKING = """
import os, sys, threading
from pathlib import Path
from prong.agents.tools import ToolCall, tool_environment, workspace_tools

place = Path(sys.argv[1])
tools = workspace_tools(place, scratch=place / "scratch", environment=tool_environment(place, {}))
assert threading.active_count() == 1
for number in range(3):
    if os.fork() == 0:
        run = tools.tools[0].run
        run(ToolCall("1", "bash", {"command": f"x={number}"}))
        text = run(ToolCall("2", "bash", {"command": "echo $x"}))
        tools.close()
        os.write(1, f"{text}\\n".encode())
        os._exit(0)
for number in range(3):
    assert os.wait()[1] == 0
"""


def test_threads_end_with_the_background_child_they_read_from(bash):
    before = threading.active_count()
    bash("sleep 100 & true")
    (reader,) = [thread for thread in threading.enumerate() if thread.name == "background output"]
    bash("kill $!; wait")
    reader.join(timeout=10)
    assert threading.active_count() == before
