"""Between an MCP client that starts its server as a process, and our agent's socket: bytes go to and fro, as they are.

It is run by its file, in the sandbox, where nothing else of Prong's can be imported.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path

_CHUNK_BYTES = 1 << 16


def _pass_on(line: socket.socket) -> None:
    while data := os.read(0, _CHUNK_BYTES):
        line.sendall(data)
    line.shutdown(socket.SHUT_WR)


def main() -> None:
    """Connect standard input and output with the socket at the path that is given, until it is closed."""
    place = Path(sys.argv[1])
    os.chdir(place.parent)  # the name of a socket may have about a hundred bytes
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(place.name)
        threading.Thread(target=_pass_on, args=(line,), daemon=True).start()
        while data := line.recv(_CHUNK_BYTES):
            view = memoryview(data)
            while view:
                view = view[os.write(1, view) :]
    os._exit(0)  # standard input may be open still


if __name__ == "__main__":
    main()
