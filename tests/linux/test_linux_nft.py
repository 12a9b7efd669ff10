"""Words of nftables, whatever bytes they are."""

from __future__ import annotations

import pytest

from wherry.errors import Internal
from wherry.linux import nft


class Library:
    """Prints a comment that somebody wrote in another encoding."""

    def __init__(self, failed: int) -> None:
        self._failed = failed

    def nft_run_cmd_from_buffer(self, context: object, script: bytes) -> int:
        return self._failed

    def nft_ctx_get_output_buffer(self, context: object) -> bytes:
        return b'comment "caf\xe9"'

    def nft_ctx_get_error_buffer(self, context: object) -> bytes:
        return b"Error: caf\xe9"


def test_text_of_another_encoding() -> None:
    assert nft._run(Library(0), None, "list ruleset") == 'comment "caf\ufffd"'
    with pytest.raises(Internal, match="refused a change: Error: caf\ufffd"):
        nft._run(Library(1), None, "x")
