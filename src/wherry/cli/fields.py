"""Updates that go beyond Docker: the daemon names fields of its API, the user knows flags."""

from __future__ import annotations

import re

from wherry.client.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from wherry.client.engine import Client


def post_update(
    client: Client, path: str, body: dict[str, Any], flags: Mapping[str, str]
) -> dict[str, Any]:
    """The daemon's answer; its warnings and its refusal speak of ``flags``: field -> flag."""
    try:
        reply: dict[str, Any] = client.post(path, body) or {}
    except ApiError as error:
        raise ApiError(error.status, in_flags(error.daemon_message, flags)) from None
    return reply | {"Warnings": [in_flags(one, flags) for one in reply.get("Warnings") or []]}


def in_flags(message: str, flags: Mapping[str, str]) -> str:
    """``EnvAdd and EnvRemove both name A`` -> ``--env and --env-rm both name A``: only the fields
    at the beginning, as what follows may be a name that the user chose."""
    field = "|".join(map(re.escape, flags))
    return re.sub(
        rf"^({field})(?: and ({field}))?\b",
        lambda found: " and ".join(flags[each] for each in found.groups() if each),
        message,
    )
