"""A client that reaches nobody and is always answered the same: for a call that is only made to be ready for others."""

from __future__ import annotations

import codecs

import anthropic
import httpx2

_ANSWER = b"""event: message_start
data: {"type":"message_start","message":{"id":"msg_0","type":"message","role":"assistant","model":"none","content":[],\
"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Ready."}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":1}}

event: message_stop
data: {"type":"message_stop"}

"""


def client() -> anthropic.Anthropic:
    """The client, to be closed."""
    codecs.lookup("idna")  # as whoever connects to a host by its name does
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, headers=headers, content=_ANSWER))
    return anthropic.Anthropic(
        api_key="none", base_url="http://localhost", max_retries=0, http_client=httpx2.Client(transport=transport)
    )
