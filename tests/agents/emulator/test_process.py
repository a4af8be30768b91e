"""The emulator as a process: how it starts, what it prints, and that nothing of it stays."""

import json
import signal
import socket
import subprocess
import sys
import textwrap
import time

import psutil
import pytest
from click.testing import CliRunner

import prong.agents.emulator as package
from prong.agents.emulator import EmulatorNotStarted, EmulatorOptions, EmulatorProcess, Script, builtin_scripts
from prong.agents.emulator.cli import command
from prong.agents.emulator.loading import load_scripts
from prong.agents.emulator.script import script

HELLO = """
    from prong.agents.emulator.script import Reply, Text, script

    @script(r"^hello")
    def hello(request):
        return Reply([Text("hello")])
"""


@pytest.fixture
def script_file(tmp_path):
    def write(text):
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(text))
        return path

    return write


def test_the_command_says_its_url_and_pid_and_ends_with_its_standard_input(script_file):
    arguments = ["--exit-with-stdin", "--script", script_file(HELLO)]
    with subprocess.Popen(
        [sys.executable, "-m", "prong.agents.emulator", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        first = json.loads(process.stdout.readline())
        assert first["pid"] == process.pid
        assert first["url"].startswith("http://127.0.0.1:")
        process.stdin.close()
        assert process.wait(5) == 0
        assert process.stdout.read() == b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well_also_while_it_answers(script_file, number):
    with subprocess.Popen(
        [sys.executable, "-m", "prong.agents.emulator", "--script", script_file(HELLO)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline()
        process.send_signal(number)
        assert process.wait(5) == 0


def test_it_does_not_outlive_whoever_started_it(script_file):
    program = f"""
        import os
        from prong.agents.emulator import EmulatorProcess
        emulator = EmulatorProcess(script_files=[{str(script_file(HELLO))!r}])
        emulator.start()
        print(emulator.pid, flush=True)
        os.kill(os.getpid(), 9)
    """
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, check=False, timeout=20
    )
    assert killed.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 5
    while (lives := is_alive(int(killed.stdout))) and time.monotonic() < deadline:
        pass
    assert not lives


def is_alive(pid):
    try:
        # A zombie is only waiting for the machine's first process to notice.
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_leaving_the_context_ends_the_process_and_leaves_no_zombie(script_file):
    with EmulatorProcess(script_files=[script_file(HELLO)]) as emulator:
        pid = emulator.pid
        assert emulator.health()["pid"] == pid
    assert not psutil.pid_exists(pid)
    emulator.stop()
    with pytest.raises(RuntimeError, match="not running"):
        emulator.journal()


def test_a_stream_that_is_open_does_not_keep_it_from_ending(script_file, call_with):
    slow_file = """
        from prong.agents.emulator.script import Reply, Text, script

        @script(r"")
        def slow(request):
            return Reply([Text("x" * 4000)])
    """
    with EmulatorProcess(script_files=[script_file(slow_file)], options=EmulatorOptions(latency_s=60)) as emulator:
        caller = call_with(emulator)
        with caller.stream(messages=[{"role": "user", "content": "go"}]) as stream:
            assert next(iter(stream)).type == "message_start"
            emulator.stop()


def test_every_option_reaches_the_emulator(script_file):
    options = EmulatorOptions(
        latency_s=0.5,
        first_token_s=0.25,
        per_token_s=0.125,
        ping_s=2.5,
        faults={"429": 0.5, "truncate": 0.25},
        retry_after_s=1.5,
        seed=9,
        requests_per_minute=1,
        input_tokens_per_minute=2,
        output_tokens_per_minute=3,
        journal_entries=4,
        keep_bodies=True,
    )
    context = command.make_context("emulator", [*options.arguments(), "--script", str(script_file(HELLO))])
    parsed = dict(context.params, faults=dict(context.params["faults"]))
    for unknown in ("files", "builtins", "exit_with_stdin"):
        del parsed[unknown]
    in_seconds = {"latency", "first_token", "per_token", "ping", "retry_after"}
    rebuilt = {f"{name}_s" if name in in_seconds else name: value for name, value in parsed.items()}
    assert EmulatorOptions(**rebuilt) == options


def test_scripts_cannot_be_handed_to_another_process():
    scripts = [script("^x")(lambda request: request)]
    with pytest.raises(ValueError, match="give their files as script_files"):
        EmulatorProcess(options=EmulatorOptions(scripts=scripts))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "has no script: put @script"),
        ("1 / 0", "cannot be loaded: ZeroDivisionError: division by zero"),
        ("def", "cannot be loaded: SyntaxError"),
        ("raise SystemExit(0)", "cannot be loaded: SystemExit: 0"),
        ("raise ValueError('one\\ntwo')", "cannot be loaded: ValueError: one two"),
        (
            'from prong.agents.emulator.script import script\n@script("(")\ndef f(request): pass',
            "the pattern '(' of script 'f' is wrong",
        ),
    ],
)
def test_a_file_without_a_good_script_is_refused_with_the_reason(script_file, text, message):
    result = CliRunner().invoke(command, ["--script", str(script_file(text))])
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in complaint(result)


def complaint(result):
    """The one line that says what is wrong; above it click recalls how the command is used."""
    usage, hint, empty, line = result.stderr.splitlines()
    assert (usage, empty) == ("Usage: emulator [OPTIONS]", "")
    assert hint.startswith("Try 'emulator ")
    return line


def test_a_file_that_is_not_there_is_a_wrong_use(tmp_path):
    path = tmp_path / "none.py"
    result = CliRunner().invoke(command, ["--script", str(path)])
    assert result.exit_code == 2
    assert complaint(result) == f"Error: Invalid value for '--script': File '{path}' does not exist."


def test_the_builtin_scripts_are_found_by_name_and_a_wrong_name_is_told_the_right_ones():
    assert [builtin.name for builtin in builtin_scripts()] == ["survey"]
    result = CliRunner().invoke(command, ["--builtin", "poem"])
    assert result.exit_code == 2
    assert complaint(result) == "Error: no built-in script is called 'poem'; there is survey"


def test_every_script_of_a_file_is_loaded_in_order(script_file):
    two = (
        HELLO
        + """
    @script(r"^bye", name="farewell")
    def bye(request):
        return Reply([Text("bye")])

    again = bye
    """
    )
    assert [loaded.name for loaded in load_scripts(script_file(two))] == ["hello", "farewell"]
    assert all(isinstance(loaded, Script) for loaded in load_scripts(script_file(two)))


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        (["teapot=0.1"], "unknown fault 'teapot'"),
        (["529=7"], "'529=7': the share of the calls is a number from 0 to 1, such as 529=0.1"),
        (["529=-1"], "is a number from 0 to 1"),
        (["529=nan"], "is a number from 0 to 1"),
        (["529=often"], "is a number from 0 to 1"),
        (["529"], "is a number from 0 to 1"),
        (["529=0.6", "429=0.6"], "sum to at most 1"),
    ],
)
def test_a_wrong_fault_is_a_wrong_use(script_file, faults, message):
    options = [argument for fault in faults for argument in ("--fault", fault)]
    result = CliRunner().invoke(command, ["--script", str(script_file(HELLO)), *options])
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in complaint(result)


def test_the_package_shows_the_module_script_and_not_the_decorator_in_it():
    assert package.script is sys.modules["prong.agents.emulator.script"]
    assert package.script.script is script


def test_a_start_that_fails_says_so_and_leaves_nothing(script_file, tmp_path):
    with (tmp_path / "errors").open("w+b") as errors:
        with pytest.raises(EmulatorNotStarted, match="exit code 2"):
            EmulatorProcess(script_files=[script_file("x = 1")], errors=errors).start()
        errors.seek(0)
        assert b"has no script" in errors.read()


def test_a_start_that_says_nothing_is_given_up(script_file):
    with pytest.raises(EmulatorNotStarted, match=r"said nothing for 0.2 s"):
        EmulatorProcess(script_files=[script_file("import time; time.sleep(60)")], start_timeout_s=0.2).start()


def test_a_port_that_is_taken_is_told(script_file):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(command, ["--script", str(script_file(HELLO)), "--port", str(port)])
    assert result.exit_code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in result.stderr


def test_one_that_dies_while_it_is_revived_is_revived_by_the_next_try(script_file):
    with EmulatorProcess(script_files=[script_file(HELLO)], errors=subprocess.DEVNULL) as emulator:
        url = emulator.url
        assert not emulator.revive()
        psutil.Process(emulator.pid).kill()
        psutil.Process(emulator.pid).wait()
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", int(url.rpartition(":")[2])))
            taken.listen()
            with pytest.raises(EmulatorNotStarted):
                emulator.revive()
        assert emulator.revive()
        assert emulator.url == url
        assert emulator.health()["requests"] == 0
    assert not emulator.revive()


def test_a_raising_script_leaves_its_traceback_on_standard_error(script_file, tmp_path, call_with):
    raising = """
        from prong.agents.emulator.script import script

        @script(r"")
        def raising(request):
            raise LookupError("broken on purpose")
    """
    with (tmp_path / "errors").open("w+b") as errors:
        with EmulatorProcess(script_files=[script_file(raising)], errors=errors) as emulator:
            assert call_with(emulator).refusal()[0] == 500
        errors.seek(0)
        assert b"in raising" in errors.read()


def test_the_process_starts_without_importing_the_sdk(script_file):
    program = f"""
        import sys
        from prong.agents.emulator.loading import load_scripts
        import prong.agents.emulator.cli, prong.agents.emulator.server, prong.agents.emulator.process
        load_scripts(__import__("pathlib").Path({str(script_file(HELLO))!r}))
        print([name for name in ("anthropic", "pydantic", "mcp") if name in sys.modules])
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True, check=True, timeout=20
    )
    assert run.stdout.strip() == "[]"
