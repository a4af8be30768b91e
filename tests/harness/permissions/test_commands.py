"""What a command for bash does is seen however it is written.

The goal: nothing that a rule denies gets through because it stands in a compound command.  The method: tables of the
ways to wrap a command, texts that are put together at random, and bash itself as the judge: whatever made it run the
denied command must not have been let through.
"""

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prong.harness.permissions.commands import Doing, doings
from prong.harness.permissions.permission import Policy, Rule, judge, parts_of

EXAMPLES = int(os.environ.get("PRONG_RULE_EXAMPLES", "150"))
"""How many random texts bash is asked about; a campaign takes many more."""

WORKSPACE = Path("/w")


def policy(**effects):
    return Policy(**{effect: tuple(Rule.read(rule) for rule in rules) for effect, rules in effects.items()})


def effect(command, **effects):
    return judge(policy(**effects), parts_of("bash", {"command": command}, WORKSPACE)).effect


HIDDEN = [
    "rm x", "rm", "rm\tx", " rm  x", "\nrm x", "ls; rm x", "ls & rm x", "ls && rm x", "ls || rm x", "ls | rm x",
    "ls |& rm x", "(rm x)", "{ rm x; }", "( ( rm x ) )", "! rm x", "time rm x", "if true; then rm x; fi",
    "if rm x; then true; fi", "while rm x; do break; done", "for f in a b; do rm $f; done", "case x in x) rm y;; esac",
    "case x in (x) true;; *) rm y;; esac", "f() { rm x; }; f", "function f { rm x; }; f", "echo $(rm x)",
    "echo `rm x`", 'echo "$(rm x)"', 'echo "`rm x`"', "echo ${x:-$(rm y)}", 'echo "${x:-$(rm y)}"', "a=$(rm x)",
    "a=$(rm x) ls", "a[$(rm x)]=1", "a=(1 $(rm x))", "cat <(rm x)", "tee >(rm x)", "ls > $(rm x)", "cat <<< $(rm x)",
    "cat <<E\n$(rm x)\nE", "cat <<-E\n\t`rm x`\n\tE", "cat <<E; rm x\ntext\nE", "[[ $(rm x) ]]", "(( $(rm x) ))",
    "echo $(( $(rm x) ))", "r\\m x", "\\rm x", "r''m x", '"rm" x', "'rm' x", "r\\\nm x", "$'rm' x", '$"rm" x',
    "/bin/rm x", "../../bin/rm x", "A=1 rm x", "A=1 B=2 rm x", "> f rm x", "2>&1 rm x", "rm x > f", "env rm x",
    "env -i A=1 rm x", "env -S 'rm x'", "/usr/bin/env rm x", "command rm x", "command -p rm x", "builtin rm x",
    "exec rm x", "exec -a ls rm x", "sudo rm x", "sudo -u root rm x", "nice rm x", "nice -n 5 rm x", "nohup rm x &",
    "timeout 5 rm x", "timeout -k 1 5 rm x", "stdbuf -o0 rm x", "setsid rm x", "xargs rm", "ls | xargs -n1 rm",
    "find . -exec rm {} ;", "find . -name '*' -execdir rm {} +", "sh -c 'rm x'", "bash -lc 'rm x'", 'bash -c "rm x"',
    "bash -c $'rm x'", "sh -c 'sh -c \"rm x\"'", "eval rm x", "eval 'rm x'", 'eval "r"m x', "trap 'rm x' EXIT",
    "alias l='rm x'; l", "x=rm; $x y", "${x} y", "$(echo rm) x", "`echo rm` x", "echo rm x | sh", "sh < f",
    "sh <<E\nrm x\nE",
    "bash -s <<< 'rm x'", "source <(echo rm x)", ". /dev/stdin", "/b?n/rm x", "r[m] x", "{rm,x}", "coproc rm x",
    'eval "$X"', 'sh -c "$X"', "busybox rm x", "ls # a comment\nrm x", "ls \\\n; rm x", "true;rm x", "true&&rm x",
    "if true; then :; else rm x; fi", "if false; then :; elif rm x; then :; fi", "until rm x; do :; done",
    "select f in a; do rm x; done", "for ((i=0; i<1; i++)); do rm x; done", "echo $(", "echo 'open", "rm x)", "((",
    'echo "${x@P}"', "shopt -s expand_aliases", "enable -f x rm", "bind -x '\"a\": rm x'",
]  # fmt: skip


@pytest.mark.parametrize("command", HIDDEN)
def test_a_denied_command_is_found_in_whatever_it_is_wrapped(command):
    assert effect(command, deny=["bash(rm *)"]) == "deny"
    assert effect(command, allow=["bash(*)"], deny=["bash(rm *)"]) == "deny"


@pytest.mark.parametrize(
    "command",
    ["ls rm x", "echo rm x", "echo 'rm x'", 'echo "; rm x"', "echo a # ; rm x", "ls rm/", "armada x", "rmdir x",
     "cat <<'E'\n$(rm x)\nE", "git commit -m 'rm x; rm y'", "echo $((1 + 2))", "[[ a == b ]]", "grep -r 'rm x' ."],
)  # fmt: skip
def test_what_only_names_the_denied_command_is_let_through(command):
    assert effect(command, deny=["bash(rm *)"]) == "allow"


@pytest.mark.parametrize(
    ("command", "rule", "met"),
    [
        ("git push", "bash(git push*)", True),
        ("git push origin main", "bash(git push *)", True),
        ("git push", "bash(git push *)", True),  # the words behind it may be missing
        ("git push", "bash(git push:*)", True),
        ("git pusher", "bash(git push *)", False),
        ("git -C x push", "bash(git push *)", True),
        ("git -c a=b --no-pager push", "bash(git push *)", True),
        ("git $X", "bash(git push *)", True),
        ("git $X", "bash(git status)", True),
        ("git status", "bash(git push *)", False),
        ("ls -la", "bash(ls)", False),
        ("make && make test", "bash(make test)", True),
        ("echo x > docs/a.md", "edit(docs/**)", True),
        ("cat < docs/a.md", "edit(docs/**)", False),
        ("cat < docs/a.md", "read(docs/**)", True),
        ("echo x >> $F", "edit(docs/**)", True),
        ("echo x 2>/dev/null", "edit", False),
        ("anything at all", "bash", True),
        ("anything at all", "*", True),
    ],
)
def test_which_commands_a_rule_is_about(command, rule, met):
    assert effect(command, deny=[rule]) == ("deny" if met else "allow")


@pytest.mark.parametrize(
    ("command", "rules", "through"),
    [
        ("make all", ["bash(make *)"], True),
        ("make all && ls", ["bash(make *)"], False),
        ("make all && ls", ["bash(make *)", "bash(ls)"], True),
        ("cd src && make all", ["bash(make *)"], True),  # changing the folder does nothing
        ("make $X", ["bash(make *)"], True),
        ("make all > log", ["bash(make *)"], False),
        ("make all > log", ["bash(make *)", "edit(log)"], True),
        ("make all > ../log", ["bash(make *)", "edit(log)"], False),
        ("make all > log", ["bash"], True),
        ("make $(rm x)", ["bash(make *)"], False),
        ("sudo make all", ["bash(make *)"], False),
        ("timeout 5 make all", ["bash(make *)"], True),
        ("PATH=. make all", ["bash(make *)"], False),
        ("./make all", ["bash(make *)"], False),
        ("m''ake all", ["bash(make *)"], True),
        ("eval make all", ["bash(make *)"], False),
        ("test -v 'a[$(rm x)]'", ["bash(make *)"], False),  # bash runs what stands in an index
        ("[ -n x -a -v 'a[$(rm x)]' ]", ["bash(make *)"], False),
        ("for x in '-v a[$(rm)]'; do [ $x ]; done", ["bash(make *)"], False),
        ('for x in \'a[$(rm)]\'; do [ "$op" "$x" ]; done', ["bash(make *)"], False),
        ("wait -n -p 'a[$(rm x)]'", ["bash(make *)"], False),
        ("[[ 'a[$(rm x)]' -eq 0 ]] && make", ["bash(make *)"], False),
        ("[[ (-v 'a[$(rm x)]') ]] && make", ["bash(make *)"], False),
        ("for x in 'a[$(rm x)]'; do ((x)); make; done", ["bash(make *)"], False),
        ("for x in 'a[$(rm x)]'; do make $((x)); done", ["bash(make *)"], False),
        ("for x in 'a[$(rm x)]'; do make ${!x} ${y[x]}; done", ["bash(make *)"], False),
        ("for x in 'a[$(rm x)]'; do make ${y:x:1}; done", ["bash(make *)"], False),
        ("for PATH in .; do make; done", ["bash(make *)"], False),
        ("for PATH in .; do make; done", ["bash(make *)", "bash(for PATH)"], True),
        ('for x in a b; do [ "$x" = a ] && make ${x%.c} ${x:-b} ${#x} $((1 + 2)); done', ["bash(make *)"], True),
        ("if [[ $# -eq 0 || $x == [ab]* || -f $y ]]; then make; fi; [ $? -eq 0 ]; wait $!", ["bash(make *)"], True),
        ("echo 'open", ["bash(echo *)"], False),
        ("echo 'open", ["bash"], True),
    ],
)
def test_a_call_needs_each_of_its_commands_let_through(command, rules, through):
    judged = judge(
        Policy(allow=tuple(map(Rule.read, rules)), default="ask"), parts_of("bash", {"command": command}, WORKSPACE)
    )
    assert judged.effect == ("allow" if through else "ask")


WRAPS = st.sampled_from([
    "{}; true", "true && {}", "false || {}", "true | {}", "( {})", "{{ {}\n}}", "echo $( {})", 'echo "$( {})"',
    "a=$( {})", "if true; then {}\nfi", "for i in 1; do {}\ndone", "case a in a) {}\n;; esac", "cat <({})", "! {}",
    "cat <<E\n$({}\n)\nE", "true\n{}", "true # x\n{}", "f() {{ {}\n}}\nf", "[[ -n $( {}) ]]", "echo ${{x:-$( {})}}",
])  # fmt: skip


@given(
    wraps=st.lists(WRAPS, max_size=6), denied=st.sampled_from(["rm -rf x", "rm", "\\rm x", "command rm x", "r'm' x"])
)
def test_no_compound_command_that_contains_a_denied_one_is_let_through(wraps, denied):
    command = denied
    for wrap in wraps:
        command = wrap.format(command)
    assert effect(command, deny=["bash(rm *)"]) == "deny"
    assert effect(command, ask=["bash(rm *)"], allow=["bash"]) == "ask"


@given(st.text(st.sampled_from("rm x$(){}[]`'\"\\;&|<>#\n\t!=*?~E-"), max_size=60))
def test_whatever_the_text_it_is_judged(text):
    assert all(isinstance(one, Doing) or one.path is not None for one in doings(text))
    assert effect(text, deny=["*"]) == "deny"


@pytest.fixture(scope="module")
def stubs(tmp_path_factory):
    """A folder with the only programs that a text can run: rm, which leaves a mark, and a few that run others."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "rm").write_text(f"#!{shutil.which('bash')}\n: > {folder}/mark\n")
    (folder / "rm").chmod(0o755)
    for name in ("bash", "cat", "env", "timeout", "nice", "xargs", "printf"):
        (folder / name).symlink_to(shutil.which(name))
    (folder / "sh").symlink_to(shutil.which("bash"))
    return folder


PIECES = st.sampled_from([
    "rm", "rm x", " ", " ", " ", ";", "\n", "&&", "||", "|", "(", ")", "{ ", "; }", "$(", "`", "'", '"', "\\", "$v",
    "v=rm", "v=$(", "echo", "eval", "sh -c", "env", "timeout 1", "xargs", "<<E\n", "\nE\n", "<<'E'\n", "# ",
    "if true", "then ", "fi", "case a in a) ", ";;", "esac",
    "${v:-", "}", "[[ ", " ]]", "$((", "))", "<(", "<<<", "true", "$'",
    "x", "\\\n", "<<-E\n", "!", "=", "command", "exec", "for v in rm", "do ", "done", "a=(", "\t", "&", "r", "m",
    "''", "echo rm",
])  # fmt: skip


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(PIECES, min_size=1, max_size=14))
def test_what_makes_bash_run_the_denied_command_is_not_let_through(pieces, stubs, tmp_path):
    text = "".join(pieces)
    if effect(text, deny=["bash(rm *)"]) == "deny":
        return  # refused, rightly or out of caution
    _run(text, stubs, tmp_path)
    assert not (stubs / "mark").exists(), f"it was let through, and it runs rm: {text!r}"


def _run(text, stubs, folder):
    (stubs / "mark").unlink(missing_ok=True)
    process = subprocess.Popen(
        [stubs / "bash", "-c", text], cwd=folder, env={"PATH": str(stubs)}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
