"""Switches the loopback device of this process's network on, as `ip link set lo up` does where that is installed."""

import fcntl
import socket
import struct

SET_FLAGS = 0x8914
UP = 0x1

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
    fcntl.ioctl(line, SET_FLAGS, struct.pack("16sh", b"lo", UP))
