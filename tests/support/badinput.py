"""What clients get wrong, as data: for every route the requests that must be refused, and how.

Paths and bodies may hold ``{stopped}``, ``{running}``, ``{paused}``, ``{exec}`` and ``{image}``
(ids that the test fills in). A row says the status and a part of the message: the field's name,
or the thing's. Statuses and words are those of Docker Engine 26.1 unless a comment says otherwise.
"""

from __future__ import annotations

from tests.support import badcontainers, badvolumes
from tests.support.badrows import Bad, bad_filters, filters, no_image, not_this, query
from tests.support.images import BASE

_TEXT_GROUPS = "_ping auth commit containers events exec info plugins system version volumes"
GROUPS = frozenset(_TEXT_GROUPS.split())
"""First words of the paths whose routes all need rows; ``images`` have them besides."""

_SYSTEM: dict[str, tuple[Bad, ...]] = {
    "GET /_ping": (not_this("POST", "/_ping"),),
    "HEAD /_ping": (not_this("DELETE", "/_ping"),),
    "GET /version": (
        not_this("PUT", "/version"),
        Bad("/v1.99/version", 400, "client version 1.99 is too new"),
        Bad("/v1.5/version", 400, "client version 1.5 is too old"),
        Bad("/v9999999999.1/version", 404, "page not found"),
        Bad("/vx/version", 404, "page not found"),
        Bad("/version/", 404, "page not found"),
        Bad("//version//", 404, "page not found"),
        Bad("/version%00", 400, "null byte"),
    ),
    "GET /info": (not_this("POST", "/info"), Bad("/info/more", 404, "page not found")),
    "POST /build/prune": bad_filters("/build/prune"),
    "GET /system/df": (
        Bad("/system/df?type=nonsense", 400, "unknown object type: nonsense"),
        not_this("POST", "/system/df"),
    ),
    "GET /events": (
        Bad("/events?since=soon", 400, "since"),
        Bad("/events?until=later", 400, "until"),
        Bad("/events?since=20&until=10", 400, "since"),
        *bad_filters("/events", until=1)[:4],
    ),
    "GET /plugins": (
        not_this("PUT", "/plugins"),
        Bad("/plugins", 404, "invalid plugin name or ID: value is empty", method="DELETE"),
    ),
    "GET /plugins/{name:.+}/json": (Bad("/plugins/none/json", 404, "not found"),),
}

_IMAGES: dict[str, tuple[Bad, ...]] = {
    "GET /images/json": (
        *bad_filters("/images/json"),
        Bad(filters("/images/json", {"dangling": ["x"]}), 400, "dangling"),
        Bad(filters("/images/json", {"before": ["no/such"]}), 404, "no/such"),
    ),
    "POST /images/create": (
        Bad("/images/create", 400, "fromImage"),
        Bad("/images/create?fromSrc=-&repo=BAD", 400, "BAD"),
        Bad(query("/images/create", fromSrc="-", changes="NONSENSE x"), 400, "nonsense"),
        Bad("/images/create?fromImage=UPPER%20case", 400, "reference"),
    ),
    "POST /images/load": (
        Bad("/images/load?platform=%7Bbroken", 400, "platform"),
        Bad(f"/images/load?platform=%7B%22a%22:{'[' * 100_000}", 400, "platform"),
    ),
    "POST /images/prune": (
        *bad_filters("/images/prune"),
        Bad(filters("/images/prune", {"dangling": ["x"]}), 400, "dangling"),
        Bad(filters("/images/prune", {"until": ["soon"]}), 400, "soon"),
    ),
    "GET /images/get": (Bad("/images/get?names=no/such", 404, "no/such"),),
    "GET /images/{name:.+}/get": (no_image("/images/{name}/get"),),
    "GET /images/{name:.+}/json": (
        no_image("/images/{name}/json"),
        Bad("/images/UPPER/json", 400, "reference"),
    ),
    "GET /images/{name:.+}/history": (no_image("/images/{name}/history"),),
    "POST /images/{name:.+}/tag": (
        no_image("/images/{name}/tag?repo=a"),
        Bad(f"/images/{BASE}/tag", 400, "reference"),
        Bad(f"/images/{BASE}/tag?repo=UPPER", 400, "UPPER"),
        Bad(f"/images/{BASE}/tag?repo=a@sha256:{64 * '0'}", 400, "digest reference"),
        Bad(f"/images/{BASE}/tag?repo=a&tag=:::", 400, "tag"),
    ),
    "DELETE /images/{name:.+}": (
        no_image("/images/{name}"),
        Bad("/images/{image}", 409, "container"),
    ),
}

TABLE = _SYSTEM | badcontainers.TABLE | _IMAGES | badvolumes.TABLE
