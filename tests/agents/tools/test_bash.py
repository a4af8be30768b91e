"""The shell that lasts from call to call: what it runs, what it shows, and what cannot break it."""

import os
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prong.agents.tools import ToolError
from prong.agents.tools.masking import Masking
from prong.agents.tools.output import OUTPUT_CHARACTERS
from prong.state.secrets import without


def test_a_command_returns_what_it_wrote(bash):
    assert bash("echo hello") == "hello"


def test_both_streams_come_in_the_order_in_which_they_were_written(bash):
    assert bash("echo 1; echo 2 >&2; echo 3; echo 4 >/dev/stderr; echo 5") == "1\n2\n3\n4\n5"


def test_an_exit_code_is_told_when_it_is_not_0(bash):
    assert bash("echo no; false") == "no\n[exit code 1]"
    assert bash("bash -c 'kill -9 $$'").endswith("[exit code 137]")
    assert bash("true") == "(no output)"


def test_directory_variables_functions_and_options_last(bash, workspace):
    bash("mkdir sub; cd sub; x=5; export y=6; declare -A map=([a]=7); greet() { echo hello $1; }; shopt -s extglob")
    assert bash("pwd; echo $x ${map[a]}; printenv y; greet you") == f"{workspace}/sub\n5 7\n6\nhello you"


def test_a_restart_gives_a_fresh_shell_in_the_workspace_and_ends_what_the_old_one_started(
    tools, call, bash, workspace, running
):
    bash("cd /; x=5; sleep 100 >/dev/null 2>&1 & setsid sleep 100 >/dev/null 2>&1 &")
    assert str(workspace) in call(tools, "bash", restart=True)
    assert running() == ["bash"]
    assert bash("pwd; echo x=$x") == f"{workspace}\nx="


def test_a_restart_may_bring_a_command(tools, call):
    assert call(tools, "bash", restart=True, command="echo hello").endswith("\nhello")


def test_no_process_starts_before_the_first_command(make, running):
    make()
    assert running() == []


@pytest.mark.parametrize(
    "command",
    [
        "nosuchcommand",
        "echo 'not closed",
        'echo "not closed',
        "cat <<END\nnot closed",
        "echo $(not closed",
        "if true; then",
        "fi; done; }; )",
        "echo ${a b}",
        "echo $((1/0))",
        "readonly r=1; r=2",
        "exec </dev/null",
        "exec 0<&-",
        "exec >/dev/null 2>&1",
        "exec >&- 2>&-",
        "exec 3>&1 4</dev/null",
        "break; continue",
        "return 4",
        "cat",
        "read line; head -1; python3 -c 'input()'",
        "echo a \\",
        "# nothing but a comment",
        "\n\n",
        "echo a\r\necho b\r\n",
        "IFS=/; unset PWD OLDPWD; PATH=",
        "set -C -f -u -x +B",
        "printf() { :; }; source() { :; }; eval() { :; }",
        "trap 'echo trapped' EXIT ERR DEBUG",
        "alias source=false; shopt -s expand_aliases",
        "set -m; sleep 0 & fg",
        "ulimit -n 20",
        "echo 'a\u2028b \N{ZERO WIDTH SPACE} é 漢 \N{PILE OF POO}'",
    ],
)
def test_no_command_confuses_the_shell(bash, command):
    bash("kept=yes")
    bash(command)
    assert bash("echo still here: $kept").splitlines()[-1] == "still here: yes"


@pytest.mark.parametrize(
    ("command", "how"),
    [
        ("exit 3", "exit code 3"),
        ("exit", "exit code 0"),
        ("set -e; false; echo unreached", "exit code 1"),
        ("echo ${unset:?is needed}", "exit code 1"),
        ("kill -9 $$", "signal SIGKILL"),
        ("kill -INT $$; true", "signal SIGINT"),
        ("exec true", "exit code 0"),
    ],
)
def test_a_command_that_ends_the_shell_is_told_and_the_next_one_runs_in_the_same_directory(bash, command, how):
    bash("mkdir -p sub; cd sub; x=5")
    told = bash(f"echo before; {command}")
    assert told.startswith("before\n")
    assert f"ended the shell itself ({how})" in told
    assert bash("basename $PWD; echo x=$x") == "sub\nx="


def test_a_shell_that_died_between_two_commands_is_replaced_and_that_is_told(bash):
    pid = int(bash("echo $$"))
    death = os.pidfd_open(pid)
    os.kill(pid, 9)
    os.waitid(os.P_PIDFD, death, os.WEXITED | os.WNOWAIT)
    os.close(death)
    told = bash("echo hello")
    assert told.startswith("hello\n[the shell had ended since the last command")


def test_when_the_directory_is_gone_a_new_shell_starts_in_the_workspace(bash, workspace):
    bash("mkdir sub; cd sub")
    shutil.rmtree(workspace / "sub")
    bash("exit")
    told = bash("pwd")
    assert told.startswith(f"{workspace}\n")
    assert "/sub is gone" in told


def test_errors_name_the_line_of_the_command(bash):
    bash("echo several\necho lines")
    assert bash("true\nnosuchcommand") == "bash: line 2: nosuchcommand: command not found\n[exit code 127]"


@settings(
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200))
def test_the_text_of_a_command_reaches_bash_byte_for_byte(bash, text):
    assert bash(f"cat <<'THE-END'\n{text}|\nTHE-END") == f"{text}|"


def test_a_command_of_a_megabyte_works(bash):
    assert bash(f"x='{'y' * 1_000_000}'\necho ${{#x}}") == "1000000"


def test_bytes_that_are_no_text_are_replaced(bash):
    assert bash(r"printf 'a\0b\xffc'") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c"


def test_an_output_at_the_bound_is_shown_whole(bash):
    assert bash(f"printf '%0{OUTPUT_CHARACTERS}d' 0") == "0" * OUTPUT_CHARACTERS


def test_of_a_longer_output_the_middle_is_left_out_and_the_whole_is_in_a_file(bash):
    shown = bash("seq 100000")
    head, told, tail = re.fullmatch(r"(1\n2\n.*)\n\[(.*)\]\n(.*\n99999\n100000)", shown, re.DOTALL).groups()
    count, path = re.fullmatch(r"([\d,]+) characters left out; the whole output is in (.+)", told).groups()
    whole = "".join(f"{number}\n" for number in range(1, 100_001))
    assert Path(path).read_text() == whole
    assert len(head) + int(count.replace(",", "")) + len(tail + "\n") == len(whole)
    assert len(head) + len(tail + "\n") == OUTPUT_CHARACTERS


def test_characters_are_counted_and_not_bytes(bash):
    shown = bash("printf 'é%.0s' {1..40000}")
    assert "[10,000 characters left out" in shown


def test_a_background_child_that_holds_the_output_open_does_not_hold_up_the_call(tools, bash, scratch):
    bash(f"mkfifo {scratch}/gate")
    told = bash(f"(read -r line <{scratch}/gate; echo $line) & echo at once")
    file = Path(re.fullmatch(r"at once\n\[.* goes to (.*)\]", told).group(1))
    assert bash(f"echo later >{scratch}/gate; wait") == "(no output)"
    tools.close()
    assert file.read_text() == "at once\nlater\n"


def test_a_background_child_that_writes_much_is_not_blocked_after_its_call(bash, scratch):
    bash(f"mkfifo {scratch}/gate")
    bash(f"(read -r line <{scratch}/gate; seq 100000; echo over >{scratch}/gate) &")
    assert bash(f"echo go >{scratch}/gate; read -r line <{scratch}/gate; echo $line") == "over"


def test_a_background_child_that_writes_elsewhere_is_not_mentioned(bash):
    assert bash("sleep 100 >/dev/null 2>&1 & echo hello") == "hello"


def test_a_background_child_that_never_stops_writing_does_not_hold_up_the_call(bash):
    assert "goes to" in bash("yes & echo hello")
    assert bash("kill $!; wait; echo over") == "over"


def test_what_a_last_child_still_writes_is_in_the_result(bash):
    assert bash("echo hello > >(tr a-z A-Z)") == "HELLO"


def test_input_is_empty_and_there_is_no_terminal(bash):
    assert bash("cat; tty; (: </dev/tty) 2>/dev/null || echo none").splitlines() == ["not a tty", "none"]


def test_a_command_sees_only_the_environment_it_was_given(bash, environment):
    seen = {line.split("=")[0] for line in bash("env").splitlines()}
    assert seen - environment.keys() <= {"PRONG_SHELL", "SHLVL", "OLDPWD", "_"}


def test_without_its_scratch_directory_the_shell_says_so(tools, bash, scratch):
    tools.close()
    shutil.rmtree(scratch)
    with pytest.raises(ToolError, match="closed"):
        bash("echo hello")


def test_a_broken_scratch_directory_is_an_error_that_says_what_to_do(make, call, scratch):
    tools = make()
    shutil.rmtree(scratch)
    with pytest.raises(ToolError, match=r"could not run the command: .*Try it again"):
        call(tools, "bash", command="echo hello")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "`command` is missing"),
        ({"restart": False}, "`command` is missing"),
        ({"command": ""}, "`command` is empty"),
        ({"command": ["ls"]}, "`command` must be a string, not an array"),
        ({"command": "a\0b"}, "NUL"),
        ({"command": "\ud800"}, r"half a surrogate pair \(U\+D800\)"),
        ({"command": "x" * 5_000_000}, "the most is 4,194,304"),
        ({"command": "ls", "restart": "yes"}, "`restart` must be true or false, not 'yes'"),
        ({"command": "ls", "timeout": 5}, "it knows no 'timeout'. It takes only command, restart"),
    ],
)
def test_a_malformed_call_is_refused_in_words(tools, call, running, given, message):
    with pytest.raises(ToolError, match=f"^bash: .*{message}"):
        call(tools, "bash", **given)
    assert running() == []


def test_what_is_secret_is_neither_told_nor_kept_however_it_is_cut(make, call):
    """Goal: nothing of a key is in the file either.  Method: a key that no two writes have in one piece."""
    secret = "teeth-of-the-dragon"
    tools = make(secrets=[secret])
    command = "for i in $(seq 4000); do printf %s teeth-of-; printf %s, the-dragon; done; printf teeth-of-"
    told = call(tools, "bash", command=command)
    [file] = re.findall(r"\S*output-[^\s\]]*", told)
    kept = Path(file).read_text()
    assert secret not in told + kept
    assert kept == "[masked]," * 4000 + "teeth-of-"


WORDS = ["abcdefgh", "abc", "defgh", "a", "xyzxyzxyz", "xyz", "ab cd", "bcdefghi"]


@given(st.lists(st.sampled_from(WORDS), max_size=12), st.data())
def test_pieces_are_masked_as_the_whole_would_be(words, data):
    secrets = ["abcdefgh", "xyzxyzxyz", "xyzxyz-long"]
    whole = "".join(words).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    masking = Masking(secrets)
    pieces = [masking.take(whole[a:b], final=b is None) for a, b in zip([0, *cuts], [*cuts, None], strict=True)]
    assert b"".join(pieces).decode() == without(whole.decode(), secrets)
