"""`python -m prong.harness` is the command `prong`, and so is what `prong` starts."""

from __future__ import annotations

import gc
import signal


def main() -> None:
    """Read the command line and do what it says.

    Whoever interrupts it while it is still being read into memory just ends it: nothing has begun that could be told.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.disable()  # what is imported stays: to look through it for what does not would cost a fifth of the time
    from prong.harness.cli.command import main as command  # noqa: PLC0415  the slow part

    gc.enable()
    signal.signal(signal.SIGINT, before)
    command(prog_name="prong")


if __name__ == "__main__":
    main()
