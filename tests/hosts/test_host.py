"""The seam's promises, held by this machine and by a real sshd alike."""

from __future__ import annotations

import contextlib
import http.server
import json
import sys
import threading
import time

import pytest

from jvbtune.errors import HostError
from jvbtune.hosts.base import Host

NASTY = ["a b", "'", '"', "$HOME", "`id`", "; false", "\\", "*", "", "ü", "-n", "a\nb", "\t"]


def test_argv_arrives_as_it_is(host: Host) -> None:
    script = "import sys, json; print(json.dumps(sys.argv[1:]))"
    done = host.run([sys.executable, "-c", script, *NASTY])
    assert json.loads(done.stdout) == NASTY


def test_status_and_both_streams(host: Host) -> None:
    done = host.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.status, done.stdout, done.stderr) == (3, b"out\n", b"err\n")


def test_a_command_that_is_not_there_is_an_answer(host: Host) -> None:
    assert host.run(["/does/not/exist"]).status == 127


def test_input_arrives_whole(host: Host) -> None:
    data = bytes(range(256)) * 20000
    assert host.run(["cat"], stdin=data, timeout_seconds=60).stdout == data


def test_large_outputs_on_both_streams_do_not_deadlock(host: Host) -> None:
    script = (
        "import sys, threading\n"
        "def fill(stream):\n"
        "    for _ in range(320): stream.write(b'x' * 65536); stream.flush()\n"
        "t = threading.Thread(target=fill, args=(sys.stderr.buffer,)); t.start(); fill(sys.stdout.buffer); t.join()\n"
    )
    done = host.run([sys.executable, "-c", script], timeout_seconds=120)
    assert (len(done.stdout), len(done.stderr)) == (320 * 65536, 320 * 65536)


def test_a_command_that_does_not_end_times_out(host: Host) -> None:
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match="did not end within"):
        host.run(["sleep", "30"], timeout_seconds=0.5)
    assert time.monotonic() - begun < 10


def test_a_stream_speaks_both_ways(host: Host) -> None:
    with contextlib.closing(host.stream(["cat"])) as stream:
        stream.write(b"one\ntwo")
        assert stream.read_line(10) == b"one"
        with pytest.raises(TimeoutError):
            stream.read_line(0.2)
        stream.write(b"\n")
        assert stream.read_line(10) == b"two"
        stream.close_stdin()
        assert stream.read_line(10) is None
        assert stream.wait(10) == 0


def test_a_stream_whose_command_ended_is_gone(host: Host) -> None:
    with contextlib.closing(host.stream(["sh", "-c", "echo bye >&2; exit 4"])) as stream:
        assert stream.wait(10) == 4
        assert stream.read_line(10) is None
        assert stream.stderr_tail() == b"bye\n"
        with pytest.raises(HostError, match="is gone"):
            stream.write(b"x" * 10_000_000)


def test_many_commands_at_once(host: Host) -> None:
    answers: dict[int, bytes] = {}

    def ask(number: int) -> None:
        answers[number] = host.run(["echo", str(number)]).stdout

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: f"{number}\n".encode() for number in range(20)}


def test_a_connection_from_the_host(host: Host) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        connection = host.connect_tcp("127.0.0.1", server.server_address[1])
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while data := connection.recv(1000):
            answer += data
        connection.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert answer.endswith(b"hello")


def test_a_port_that_nobody_listens_on(host: Host) -> None:
    with pytest.raises(HostError, match=r"127\.0\.0\.1:1\b"):
        host.connect_tcp("127.0.0.1", 1)
