"""``/containers/...``: the life cycle, listing, logs, and what a running container is asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web

from wherry.api.hijack import stream_type
from wherry.api.replies import empty, json_reply
from wherry.api.routing import Call, Router
from wherry.containers.service import Containers, LogLine, LogOptions
from wherry.errors import Invalid
from wherry.linux.tasks import spawn
from wherry.wire.container import (
    Config,
    CreateRequest,
    HostConfig,
    Mount,
    NetworkingConfig,
    UpdateRequest,
)
from wherry.wire.frames import head


class ContainerRoutes:
    def __init__(self, containers: Containers) -> None:
        self._containers = containers

    def register(self, router: Router) -> None:
        add = router.add
        add("GET", "/containers/json", self.listing)
        add("POST", "/containers/create", self.create)
        add("POST", "/containers/prune", self.prune)
        add("POST", "/commit", self.commit)
        add("DELETE", "/containers/{id}", self.remove)
        add("GET", "/containers/{id}/json", self.inspect)
        add("GET", "/containers/{id}/top", self.top)
        add("GET", "/containers/{id}/changes", self.changes)
        add("DELETE", "/containers/{id}/logs", self.clear_logs)
        add("GET", "/containers/{id}/logs", self.logs)
        add("POST", "/containers/{id}/start", self.start)
        add("POST", "/containers/{id}/stop", self.stop)
        add("POST", "/containers/{id}/restart", self.restart)
        add("POST", "/containers/{id}/kill", self.kill)
        add("POST", "/containers/{id}/pause", self.pause)
        add("POST", "/containers/{id}/unpause", self.unpause)
        add("POST", "/containers/{id}/rename", self.rename)
        add("POST", "/containers/{id}/resize", self.resize)
        add("POST", "/containers/{id}/update", self.update)
        add("POST", "/containers/{id}/wait", self.wait, streams=True)

    async def listing(self, call: Call) -> web.StreamResponse:
        query = call.query
        limit = query.integer("limit")
        limit = limit if limit is not None and limit > 0 else None
        filters, every = query.filters(), query.flag("all")
        if query.flag("size"):
            return json_reply(await self._containers.sized(filters, all=every, limit=limit))
        return json_reply(self._containers.summaries(filters, all=every, limit=limit))

    async def create(self, call: Call) -> web.StreamResponse:
        request = await call.body(CreateRequest)
        if request.host_config is None:
            request.host_config = HostConfig()
        if request.networking_config is None:
            request.networking_config = NetworkingConfig()
        _for_version(request.host_config, call.version)
        identity, warnings = await self._containers.create(
            call.query.maybe("name"), request, call.query.maybe("platform")
        )
        return json_reply({"Id": identity, "Warnings": warnings or []}, 201)

    async def inspect(self, call: Call) -> web.StreamResponse:
        ref = call.path["id"]
        sizes = await self._containers.sizes(ref) if call.query.flag("size") else None
        return json_reply(self._containers.inspect(ref, sizes=sizes))

    async def start(self, call: Call) -> web.StreamResponse:
        query = call.query
        await self._containers.start(
            call.path["id"], query.text("checkpoint"), query.text("checkpoint-dir")
        )
        return empty()

    async def stop(self, call: Call) -> web.StreamResponse:
        query = call.query
        await self._containers.stop(call.path["id"], query.integer("t"), query.maybe("signal"))
        return empty()

    async def restart(self, call: Call) -> web.StreamResponse:
        query = call.query
        await self._containers.restart(call.path["id"], query.integer("t"), query.maybe("signal"))
        return empty()

    async def kill(self, call: Call) -> web.StreamResponse:
        await self._containers.kill(call.path["id"], call.query.maybe("signal"))
        return empty()

    async def pause(self, call: Call) -> web.StreamResponse:
        await self._containers.pause(call.path["id"])
        return empty()

    async def unpause(self, call: Call) -> web.StreamResponse:
        await self._containers.unpause(call.path["id"])
        return empty()

    async def rename(self, call: Call) -> web.StreamResponse:
        await self._containers.rename(call.path["id"], call.query.text("name"))
        return empty()

    async def remove(self, call: Call) -> web.StreamResponse:
        query = call.query
        await self._containers.remove(
            call.path["id"],
            force=query.flag("force"),
            volumes=query.flag("v"),
            link=query.flag("link"),
        )
        return empty()

    async def wait(self, call: Call) -> web.StreamResponse:
        """The head is sent at once: clients wait for it before they start the container.

        Errors after that (the container is gone already) cannot be a status any more; Docker
        writes them into the reply's ``Error``. An unknown container is found before the head.
        """
        condition = call.query.text("condition") or "not-running"
        if condition not in ("not-running", "next-exit", "removed"):
            raise Invalid(f'invalid condition: "{condition}"')
        waiting = spawn(
            _outcome(self._containers, call.path["id"], condition), name="wait for a container"
        )
        try:
            early = await _first_step(waiting)
            if early is not None:
                raise early
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            await response.prepare(call.request)
            result = await waiting
        finally:
            waiting.cancel()
        if isinstance(result, Exception):
            result = (125, str(result))
        code, message = result
        body: dict[str, Any] = {"StatusCode": code}
        if message:
            body["Error"] = {"Message": message}
        await response.write(json_reply(body).body)  # type: ignore[arg-type]
        await response.write_eof()
        return response

    async def resize(self, call: Call) -> web.StreamResponse:
        height, width = dimensions(call)
        await self._containers.resize(call.path["id"], height, width)
        return empty(200)

    async def update(self, call: Call) -> web.StreamResponse:
        """Beyond Docker: more can change, and the answer says what already has."""
        asked = await call.body(UpdateRequest)
        outcome = await self._containers.update(call.path["id"], asked)
        return json_reply(
            {
                "Warnings": outcome.warnings,
                "Applied": outcome.applied,
                "AtNextStart": outcome.at_next_start,
            }
        )

    async def top(self, call: Call) -> web.StreamResponse:
        arguments = call.query.text("ps_args") or "-ef"
        titles, processes = await self._containers.top(call.path["id"], arguments)
        return json_reply({"Titles": titles, "Processes": processes})

    async def changes(self, call: Call) -> web.StreamResponse:
        rows = await self._containers.changes(call.path["id"])
        return json_reply([{"Path": path, "Kind": kind} for path, kind in rows])

    async def commit(self, call: Call) -> web.StreamResponse:
        query = call.query
        ref = query.maybe("container")
        if ref is None:
            raise Invalid("container is required: name the container to commit")
        config = await call.body(Config, optional=True)
        repo, tag = query.maybe("repo"), query.maybe("tag")
        given = {key: value for key, value in as_api(config).items() if value is not None}
        identity = await self._containers.commit(
            ref,
            reference=f"{repo}:{tag}" if repo and tag else repo,
            comment=query.text("comment"),
            author=query.text("author"),
            pause=query.flag("pause", default=True),
            changes=query.texts("changes"),
            config=given or None,
        )
        return json_reply({"Id": identity}, 201)

    async def prune(self, call: Call) -> web.StreamResponse:
        asked = call.rehearsal()
        answer = await self._containers.prune(call.query.filters(), dry_run=asked.dry_run)
        return json_reply(asked.mark(answer))

    async def clear_logs(self, call: Call) -> web.StreamResponse:
        """Beyond Docker: forget what was logged so far."""
        await self._containers.clear_logs(call.path["id"])
        return empty()

    async def logs(self, call: Call) -> web.StreamResponse:
        """Frames, or raw bytes of a terminal; the head goes out before the first line."""
        query, ref = call.query, call.path["id"]
        options = LogOptions(
            stdout=query.flag("stdout"),
            stderr=query.flag("stderr"),
            follow=query.flag("follow"),
            since=query.seconds("since"),
            until=query.seconds("until"),
            timestamps=query.flag("timestamps"),
            tail=_tail(query.text("tail")),
            details=query.flag("details"),
        )
        tty = self._containers.tty(ref)
        if not (options.stdout or options.stderr):
            raise Invalid("Bad parameters: you must choose at least one stream")
        batches = self._containers.logs(ref, options)
        lead = self._containers.log_details(ref).encode() + b" " if options.details else b""
        response = web.StreamResponse(headers={"Content-Type": stream_type(call.version, tty)})
        async with contextlib.aclosing(batches):
            await response.prepare(call.request)
            with contextlib.suppress(ConnectionError):
                async for lines in batches:
                    await response.write(_rendered(lines, tty, options.timestamps, lead))
                await response.write_eof()
        return response


def _rendered(lines: Sequence[LogLine], tty: bool, timestamps: bool, lead: bytes) -> bytes:
    """Lines as the client gets them, each in a frame of its own unless it is of a terminal."""
    found: list[bytes] = []
    for line in lines:
        data = lead + line.data if lead else line.data
        if timestamps:
            data = line.timestamp.encode() + b" " + data
        if not tty:
            found.append(head(line.stream, len(data)))
        found.append(data)
    return b"".join(found)


async def _outcome(containers: Containers, ref: str, condition: str) -> tuple[int, str] | Exception:
    try:
        return await containers.wait(ref, condition)
    except Exception as error:
        return error


async def _first_step(waiting: Any) -> Exception | None:
    """Let the wait begin (its lookup happens before its first pause); an early failure of it."""
    await asyncio.sleep(0)
    if waiting.done() and isinstance(waiting.result(), Exception):
        failure: Exception = waiting.result()
        return failure
    return None


def _tail(text: str) -> int | None:
    """``all``, nothing, what is no number and what is negative: every line, as in Docker."""
    try:
        count = int(text)
    except ValueError:
        return None
    return count if count >= 0 else None


def dimensions(call: Call) -> tuple[int, int]:
    """``h`` and ``w`` of a resize, both needed."""
    height, width = call.query.integer("h"), call.query.integer("w")
    if height is None or width is None:
        missing = "h" if height is None else "w"
        raise Invalid(f'invalid value "" for {missing}: not a whole number')
    if not (0 <= height < 65536 and 0 <= width < 65536):
        raise Invalid(f"invalid size {height}x{width}")
    return height, width


def as_api(config: Config) -> dict[str, Any]:
    """A struct as a mapping with the API's keys."""
    built: dict[str, Any] = msgspec.to_builtins(config)
    return built


def _for_version(host: HostConfig, version: tuple[int, int]) -> None:
    """What a client of that version means; ``Invalid``, as Docker words it, for what it cannot."""
    if version < (1, 40) and not host.ipc_mode:
        host.ipc_mode = "shareable"
    if version >= (1, 53) and host.port_bindings:
        # Before, a port without a binding got any free one.
        host.port_bindings = {port: found for port, found in host.port_bindings.items() if found}
    for mount in host.mounts or ():
        _check_mount(mount, version)


def _check_mount(mount: Mount, version: tuple[int, int]) -> None:
    bind, volume = mount.bind_options, mount.volume_options
    if version < (1, 42):
        if bind is not None:
            bind.create_mountpoint = None
        if mount.type != "volume":
            mount.volume_options = None
        if mount.type != "tmpfs":
            mount.tmpfs_options = None
    if version < (1, 44) and bind is not None and bind.read_only_force_recursive:
        raise Invalid("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer")
    if version < (1, 45) and volume is not None and volume.subpath:
        raise Invalid("VolumeOptions.Subpath needs API v1.45 or newer")
