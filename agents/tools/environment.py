"""The environment in which the tools of an agent run: an allow-list, so that no key or token can slip through."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

ALLOWED = frozenset(
    {
        "COLORTERM",
        "HOME",
        "LANG",
        "LANGUAGE",
        "LOGNAME",
        "PATH",
        "SHELL",
        "TERM",
        "TZ",
        "USER",
        "VIRTUAL_ENV",
        "CONDA_DEFAULT_ENV",
        "CONDA_PREFIX",
        "GEM_HOME",
        "GOCACHE",
        "GOPATH",
        "GOROOT",
        "JAVA_HOME",
        "NVM_BIN",
        "NVM_DIR",
        "PYENV_ROOT",
        "RBENV_ROOT",
        "CARGO_HOME",
        "LD_LIBRARY_PATH",
        "PKG_CONFIG_PATH",
        "RUSTUP_HOME",
        "RUSTUP_TOOLCHAIN",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
        "XDG_STATE_HOME",
        "CURL_CA_BUNDLE",
        "NODE_EXTRA_CA_CERTS",
        "REQUESTS_CA_BUNDLE",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
    },
)
ALLOWED_PREFIX = "LC_"
PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"})
FORBIDDEN_PREFIX = "ANTHROPIC_"


def tool_environment(workspace: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """The environment for a tool that runs in `workspace`; `extra` is added last and gives at least `TMPDIR`.

    Raises `ValueError` if `extra` names a variable of the model provider: a tool must never see its key.
    """
    refused = sorted(name for name in extra if name.upper().startswith(FORBIDDEN_PREFIX))
    if refused:
        raise ValueError(
            f"{', '.join(refused)} must not reach a tool; leave {FORBIDDEN_PREFIX}* out of its environment."
        )
    environment = {name: value for name, value in os.environ.items() if _allowed(name, value)}
    environment.setdefault("LANG", "C.UTF-8")
    environment["PATH"] = _path_with_python(environment.get("PATH") or os.defpath)
    environment["PWD"] = str(workspace)
    # Nobody sits at a terminal: a prompt or a pager would wait for ever.
    environment |= {"GIT_TERMINAL_PROMPT": "0", "PAGER": "cat", "GIT_PAGER": "cat"}
    return environment | dict(extra)


def _allowed(name: str, value: str) -> bool:
    if name.upper() in PROXIES:
        return "@" not in value  # user:password@host
    return name in ALLOWED or name.startswith(ALLOWED_PREFIX)


def _path_with_python(path: str) -> str:
    """`path` with our interpreter's directory at its end: there is always a python3, but the user's own comes first."""
    if not sys.executable:
        return path
    directory = str(Path(sys.executable).parent)
    return path if directory in path.split(os.pathsep) else f"{path}{os.pathsep}{directory}"
