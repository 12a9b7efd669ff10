"""TLS to the daemon: the settings, and plain words for what goes wrong."""

from __future__ import annotations

import os
import select
import socket
import ssl

from wherry.client.config import Tls
from wherry.client.errors import BadHost


def client_context(tls: Tls | None) -> ssl.SSLContext:
    """Settings for one connection. Raises :class:`BadHost` for files that cannot be used.

    A file that was only looked for beside the configuration and is not there is left out, as
    Docker's client does: the machine's authorities, and no certificate of our own.
    """
    tls = tls or Tls()
    authority = tls.ca if tls.verify and tls.ca and os.path.exists(tls.ca) else None
    try:
        context = ssl.create_default_context(cafile=authority)
    except (ssl.SSLError, OSError) as error:
        raise BadHost(
            f"the certificate authority {tls.ca} cannot be used: {_word(error)}"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert and os.path.exists(tls.cert):
        try:
            context.load_cert_chain(tls.cert, tls.key or None)
        except (ssl.SSLError, OSError) as error:
            raise BadHost(
                f"the client certificate {tls.cert} with its key {tls.key} cannot be used: "
                f"{_word(error)}"
            ) from None
    return context


def own_certificate(tls: Tls | None) -> str:
    """The client certificate's file, or "" when there is none."""
    return tls.cert if tls is not None and tls.cert and os.path.exists(tls.cert) else ""


def none_given(tls: Tls | None) -> str:
    """What is missing, and how to give it."""
    missing = f": there is no file {tls.cert}" if tls is not None and tls.cert else ""
    return (
        f"a client certificate, and none was given{missing} "
        "(--tlscert and --tlskey, DOCKER_CERT_PATH, or a context with cert and key)"
    )


def explained(error: ssl.SSLError, tls: Tls | None) -> str:
    """What a failure means, and what to do."""
    reason = error.reason or ""
    own = own_certificate(tls)
    if isinstance(error, ssl.SSLCertVerificationError):
        trusted = tls.ca if tls is not None and tls.ca else "the machine's authorities"
        return (
            f"tls: the daemon's certificate is not trusted: {error.verify_message} (by {trusted}; "
            "--tlscacert names another authority)"
        )
    if "WRONG_VERSION_NUMBER" in reason or "RECORD_LAYER" in reason:
        return "tls: the daemon does not speak TLS: leave out --tls and --tlsverify"
    if "CERTIFICATE_REQUIRED" in reason or ("ALERT" in reason and not own):
        return f"tls: the daemon asks for {none_given(tls)}"
    if "ALERT" in reason:
        return f"tls: the daemon does not accept the client certificate {own} ({_word(error)})"
    return f"tls: {_word(error)}"


def _word(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or str(error)


def close_notify(sock: socket.socket) -> None:
    """Close our direction of a connection that does not block; the other one stays open.

    ``unwrap`` sends the alert and then reads on for the other side's; what it reads instead (an
    answer on its way) is lost, and ``shutdown`` drops the layer for receiving as well. So the
    connection changes places with a pipe meanwhile, on which there is nothing to read.
    """
    assert isinstance(sock, ssl.SSLSocket)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        connection = os.dup(sock.fileno())
        try:
            os.dup2(theirs.fileno(), sock.fileno(), inheritable=False)
            try:
                sock.unwrap()
            except (ssl.SSLError, OSError, ValueError):
                pass  # "more must be read"
        finally:
            os.dup2(connection, sock.fileno(), inheritable=False)
            os.close(connection)
        try:
            alert = ours.recv(1 << 16)
        except BlockingIOError:
            return
    while alert:
        try:
            alert = alert[os.write(sock.fileno(), alert) :]
        except BlockingIOError:
            select.select([], [sock.fileno()], [])
        except OSError:
            return  # nobody is there any more
