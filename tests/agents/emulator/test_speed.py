"""How fast it is, in processor seconds of the emulator itself, so that other load does not matter."""

import json
import socket

import psutil
import pytest

END = b"0\r\n\r\n"


@pytest.fixture
def cpu_seconds(emulator):
    """The processor time that the emulator spends on so many streamed requests."""
    host, _, port = emulator.url.removeprefix("http://").partition(":")
    process = psutil.Process(emulator.pid)

    def spent():
        times = process.cpu_times()
        return times.user + times.system

    def measure(messages, count):
        asked = {"model": "prong-emulator", "max_tokens": 99, "stream": True, "messages": messages}
        body = json.dumps(asked).encode()
        headers = f"host: x\r\nx-api-key: speed\r\nanthropic-version: 2026-10-21\r\ncontent-length: {len(body)}"
        request = f"POST /v1/messages HTTP/1.1\r\n{headers}\r\n\r\n".encode() + body
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ask(connection, request)
            before = spent()
            for _ in range(count):
                ask(connection, request)
        return (spent() - before) / count

    return measure


def ask(connection, request):
    connection.sendall(request)
    answer = b""
    while not answer.endswith(END):
        piece = connection.recv(65536)
        assert piece, answer
        answer += piece
    assert b" 200 " in answer[:20], answer


def conversation(play, pairs, size):
    first = {"role": "user", "content": play([{"text": "fine"}])}
    turn = [{"role": "assistant", "content": "y" * size}, {"role": "user", "content": "x" * size}]
    return [first, *(turn * pairs)]


def test_it_serves_more_than_300_streamed_requests_a_second(cpu_seconds, play):
    assert cpu_seconds(conversation(play, 0, 0), 300) < 1 / 300


def test_a_long_conversation_costs_no_more_than_in_proportion(cpu_seconds, play):
    megabyte = cpu_seconds(conversation(play, 100, 5000), 10)
    three = cpu_seconds(conversation(play, 300, 5000), 10)
    assert megabyte < 0.1
    assert three < 6 * megabyte
