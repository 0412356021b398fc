"""The client of a metadata server: it connects directly, to nothing else, and never for long."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from loadtests.fleet.metadata_server import ACTION, metadata_server
from serve_app.spot.metadata import MetadataError, MetadataServer, checked_url


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254",
        "http://169.254.169.254/",
        "http://[fd00:ec2::254]",
        "http://127.0.0.1:8080",
        "http://[::1]:8080",
        "http://[fe80::1]",
    ],
)
def test_link_local_and_loopback_addresses_pass(url: str) -> None:
    assert checked_url(url) == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "169.254.169.254",
        "https://169.254.169.254",
        "ftp://127.0.0.1",
        "http://metadata.google.internal",
        "http://localhost:80",
        "http://169.254.169.254.example.com",
        "http://8.8.8.8",
        "http://10.0.0.1",
        "http://[fd00:ec2::255]",
        "http://169.254.169.254@8.8.8.8",
        "http://user@127.0.0.1",
        "http://127.0.0.1/latest",
        "http://127.0.0.1?x",
        "http://127.0.0.1:0",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:http",
        "http://[::1",
        "http://",
    ],
)
def test_any_other_address_is_refused_with_what_would_be_right(url: str) -> None:
    with pytest.raises(ValueError, match=r"http://|169\.254"):
        checked_url(url)


def ask(url: str, timeout_s: float = 20) -> int:
    async def run() -> int:
        async with MetadataServer(url, timeout_s) as server:
            return (await server.request("GET", ACTION, {})).status

    return asyncio.run(run())


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with metadata_server() as server:
        assert ask(server.url) == 401


def test_a_server_that_sends_byte_by_byte_is_given_up_like_a_silent_one() -> None:
    """Each byte comes within the time of one read, and the answer never ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def dribble() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
            while not stop.wait(0.02):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    thread = threading.Thread(target=dribble)
    thread.start()
    try:
        with pytest.raises(MetadataError, match="no answer within"):
            ask(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.3)
    finally:
        stop.set()
        thread.join()
        listener.close()


def test_a_response_that_is_not_http_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def babble() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(9999)
                connection.sendall(b"220 mail.example.com\r\n")

        thread = threading.Thread(target=babble)
        thread.start()
        with pytest.raises(MetadataError, match="RemoteProtocolError"):
            ask(f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
