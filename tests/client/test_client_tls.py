"""Closing one direction of a TLS connection: nothing of the other one is lost."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from pathlib import Path

import pytest
from tests.support.certificates import certificates

from wherry.client import transport
from wherry.client.config import Endpoint, Tls
from wherry.client.errors import BadHost
from wherry.client.tls import client_context, close_notify


def test_an_answer_that_has_come_already_is_read_after_the_half_close(tmp_path: Path) -> None:
    certificates(tmp_path)
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=_serve, args=(listening, tmp_path, heard))
        server.start()
        tls = Tls(ca=str(tmp_path / "ca.pem"))
        plain = socket.create_connection(listening.getsockname())
        with client_context(tls).wrap_socket(plain, server_hostname="127.0.0.1") as link:
            link.settimeout(30)
            link.sendall(b"question")
            select.select([link], [], [], 30)  # it lies in the socket, unread
            link.setblocking(False)
            close_notify(link)
            link.settimeout(30)
            answer = b""
            while chunk := link.recv(100):
                answer += chunk
        server.join()
    assert (heard, answer) == ([b"question"], b"answerand more")


def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        there = Endpoint(f"tcp://127.0.0.1:{port}", Tls(verify=False), "", True)
        with pytest.raises(BadHost, match=r"no answer to the TLS handshake in 0\.2 s"):
            transport.connect(there)


def test_no_time_limit_after_the_handshake(tmp_path: Path) -> None:
    certificates(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=_serve, args=(listening, tmp_path, []))
        server.start()
        port = listening.getsockname()[1]
        tls = Tls(ca=str(tmp_path / "ca.pem"))
        with transport.connect(Endpoint(f"tcp://127.0.0.1:{port}", tls, "", True)) as link:
            assert link.gettimeout() is None
            link.sendall(b"question")
            assert link.recv(100) == b"answer"
            assert isinstance(link, ssl.SSLSocket)
            close_notify(link)
            assert link.recv(100) == b"and more"
        server.join()


def _serve(listening: socket.socket, folder: Path, heard: list[bytes]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    context.num_tickets = 0  # what follows is the first that the client can read
    with context.wrap_socket(listening.accept()[0], server_side=True) as link:
        link.settimeout(30)
        heard.append(link.recv(100))
        link.sendall(b"answer")
        assert link.recv(100) == b"", "the end of the questions"
        link.sendall(b"and more")
