"""What a sandbox may read: the system, what PATH names, and the caches of tools; and what in these is secret."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

SYSTEM = (
    "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr", "/etc", "/opt", "/nix", "/gnu", "/snap", "/sys",
    "/run/current-system", "/var/lib/ca-certificates", "/var/lib/dpkg",
)  # fmt: skip
"""What belongs to the system.  Not /run and /var as a whole: there are sockets of services that obey whoever asks."""

SYSTEM_SECRETS = (
    "/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/sudoers", "/etc/krb5.keytab",
    "/etc/ssh/ssh_host_rsa_key", "/etc/ssh/ssh_host_ecdsa_key", "/etc/ssh/ssh_host_ed25519_key",
)  # fmt: skip
"""What only root may read; a sandbox that root starts could, too."""

TOOL_VARIABLES = (
    "VIRTUAL_ENV", "CONDA_PREFIX", "GEM_HOME", "GOROOT", "JAVA_HOME", "NVM_DIR", "PYENV_ROOT", "RBENV_ROOT",
    "RUSTUP_HOME",
)  # fmt: skip
"""Variables that name the directory of a toolchain."""

TOOLS_AT_HOME = (
    ".asdf", ".bun/bin", ".cache/pip", ".cache/uv", ".cargo/bin", ".cargo/git/db", ".cargo/registry", ".deno/bin",
    ".gradle/caches", ".local/bin", ".local/lib", ".local/pipx", ".local/share/pipx", ".local/share/uv",
    ".m2/repository", ".npm/_cacache", ".nix-profile", ".nvm", ".pyenv", ".rbenv", ".rustup", ".sdkman/candidates",
    ".volta", "go/bin", "go/pkg",
)  # fmt: skip
"""Programs and caches below the home directory, none of which hold keys.

`.cargo`, `.m2`, `.npm` and `.gradle` as a whole do.
"""

_BINARIES = ("bin", "sbin", "shims", "Scripts", "condabin")


def system(*, network: bool) -> Iterator[Path]:
    """The system's directories that are there and no links, and with a network what names are looked up with."""
    for name in SYSTEM:
        path = Path(name)
        if path.exists() and not path.is_symlink():
            yield path
    resolver = Path(os.path.realpath("/etc/resolv.conf"))
    if network and resolver.is_file() and not resolver.is_relative_to("/etc"):
        yield resolver


def system_links() -> Iterator[tuple[str, str]]:
    """The system's directories that are links, such as /bin, with where they lead."""
    for name in SYSTEM:
        if os.path.islink(name):  # noqa: PTH114  the same for both kinds of names
            yield name, str(Path(name).readlink())


def system_secrets() -> Iterator[Path]:
    """Files of the system that are readable for us and for nobody else."""
    return (Path(name) for name in SYSTEM_SECRETS if os.access(name, os.R_OK))


def home(environment: Mapping[str, str]) -> Path | None:
    """The home directory that commands get one of their own in place of; None where there is none to be hidden."""
    given = environment.get("HOME") or ""
    path = Path(os.path.realpath(given)) if Path(given).is_absolute() else None
    return None if path is None or path == Path("/") or not path.is_dir() or _of_system(path) else path


def tools(environment: Mapping[str, str], *, home: Path | None, hidden: Sequence[Path]) -> list[Path]:
    """Where programs lie outside of the system: this interpreter, what PATH and variables name, caches at home.

    Never a directory in which the home directory or something of `hidden` lies.
    """
    at_home = [home / name for name in TOOLS_AT_HOME] if home is not None else []
    named = [Path(environment[name]) for name in TOOL_VARIABLES if environment.get(name)]
    on_path = [Path(part) for part in environment.get("PATH", "").split(os.pathsep) if Path(part).is_absolute()]
    candidates = [*at_home, *named, *map(Path, {sys.prefix, sys.base_prefix})]
    closed = [*hidden, *([home] if home is not None else [])]
    for part in on_path:
        # A program often needs what lies beside its directory: bin/python its lib/, a shim its versions.
        beside = part.parent
        is_private = home is not None and beside.parent == home and beside.name.startswith(".")
        candidates.append(beside if part.name in _BINARIES and not is_private else part)
        candidates.append(part)
    return [path for path in existing(candidates) if not _of_system(path) and not _holds(path, closed)]


def existing(paths: Iterable[Path]) -> list[Path]:
    """The real places of those that are there, each once."""
    return list(dict.fromkeys(Path(os.path.realpath(path)) for path in paths if path.is_absolute() and path.exists()))


def objects(folder: Path, *, depth: int = 5) -> list[Path]:
    """A repository's folder of objects, and those that it borrows from."""
    found = [Path(os.path.realpath(folder))]
    alternates = folder / "info/alternates"
    if depth and alternates.is_file():
        for line in alternates.read_text(errors="surrogateescape").splitlines():
            if line and not line.startswith(("#", '"')):
                found += objects(folder / line, depth=depth - 1)
    return [path for path in dict.fromkeys(found) if path.is_dir()]


def _of_system(path: Path) -> bool:
    return any(path.is_relative_to(name) for name in SYSTEM)


def _holds(path: Path, closed: Sequence[Path]) -> bool:
    return path == Path("/") or any(one.is_relative_to(path) for one in closed)
