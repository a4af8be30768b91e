"""`python -m prong.agents.emulator`."""

import gc
import os
import sys

if __name__ == "__main__":
    gc.disable()  # what is read now is for good; once the schema is made, it is switched on
    from prong.agents.emulator.cli import command

    try:
        command.main(standalone_mode=True)
    except SystemExit as end:
        # The schema may still be in the making, and an orderly end would wait for it; nothing here needs one.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
