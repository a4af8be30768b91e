"""What a picture is, told from its first bytes."""

from __future__ import annotations

import struct


def picture(head: bytes) -> str | None:
    """Kind and size in pixels; None if it is none of the usual kinds.

    >>> picture(bytes.fromhex("89504e470d0a1a0a0000000d49484452000000100000000a"))
    'PNG, 16 x 10 pixels'
    """
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 24:  # noqa: PLR2004  where its size ends
        return "PNG, {} x {} pixels".format(*struct.unpack(">II", head[16:24]))
    if head.startswith((b"GIF87a", b"GIF89a")) and len(head) >= 10:  # noqa: PLR2004  as above
        return "GIF, {} x {} pixels".format(*struct.unpack("<HH", head[6:10]))
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WebP"
    return None
