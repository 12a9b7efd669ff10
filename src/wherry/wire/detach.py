"""Detach keys: ``ctrl-p,ctrl-q`` as text, and a scanner over what the client types."""

from __future__ import annotations

from wherry.errors import Invalid

DEFAULT = "ctrl-p,ctrl-q"
_CONTROL = {f"ctrl-{char}": code for code, char in enumerate("@abcdefghijklmnopqrstuvwxyz[\\]^_")}


def parse(text: str | None) -> bytes:
    """The bytes of a key sequence; None or '' mean the default.

    Raises ``Invalid``: "Invalid escape keys (x) provided".
    """
    codes = bytearray()
    for key in (text or DEFAULT).split(","):
        if len(key) == 1 and key.isascii():
            codes.append(ord(key))
        elif key in _CONTROL:
            codes.append(_CONTROL[key])
        elif key == "DEL":
            codes.append(127)
        else:
            raise Invalid(f"Invalid detach keys ({text}) provided: Unknown character: '{key}'")
    return bytes(codes)


class Scanner:
    """Finds the sequence in a byte stream, however it is cut into pieces.

    Bytes that may be the start of the sequence are held back until it is clear that they are
    not (Knuth-Morris-Pratt); the sequence itself is never passed on.
    """

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0
        self.detached = False
        self._fallback = [0] * len(keys)
        length = 0
        for at in range(1, len(keys)):
            while length and keys[at] != keys[length]:
                length = self._fallback[length - 1]
            length += keys[at] == keys[length]
            self._fallback[at] = length

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """(bytes to pass on, whether the client detached). After a detach all is dropped."""
        if self.detached or not self._keys:
            return (b"" if self.detached else data), self.detached
        keys = self._keys
        if not self._matched and keys[0] not in data:
            return data, False
        out = bytearray()
        for byte in data:
            while self._matched and byte != keys[self._matched]:
                shorter = self._fallback[self._matched - 1]
                out += keys[: self._matched - shorter]
                self._matched = shorter
            if byte == keys[self._matched]:
                self._matched += 1
                if self._matched == len(keys):
                    self.detached = True
                    return bytes(out), True
            else:
                out.append(byte)
        return bytes(out), False

    def flush(self) -> bytes:
        """The bytes held back, when the client's input ends."""
        held, self._matched = self._keys[: self._matched], 0
        return held
