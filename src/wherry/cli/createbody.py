"""Options of ``run`` and ``create`` to the body of ``POST /containers/create``.

Pure but for the files the flags name (env files, label files, seccomp profiles). Every function
raises ``ValueError`` in the words of Docker's client.
"""

from __future__ import annotations

import json

from wherry.cli import mountspec, networkspec, portspec, values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.flags import Options

    Body = dict[str, Any]


def create_body(options: Options, words: list[str], proxies: dict[str, str]) -> Body:
    """The whole body. ``words``: image and command; ``proxies``: variables from config.json."""
    binds, anonymous = mountspec.volumes(options.many("volume"))
    exposed, bindings = portspec.publish(options.many("publish"))
    exposed |= portspec.expose(options.many("expose"))
    mode, endpoints = networkspec.endpoints(options)
    body = _config(options, words, proxies)
    body["ExposedPorts"] = exposed
    body["Volumes"] = anonymous
    host = _host(options)
    host["Binds"] = binds or None
    host["PortBindings"] = bindings
    host["NetworkMode"] = mode
    body["HostConfig"] = host
    body["NetworkingConfig"] = {"EndpointsConfig": endpoints}
    return body


def _config(options: Options, words: list[str], proxies: dict[str, str]) -> Body:
    attached = options.many("attach")
    stdin = options.on("interactive")
    env = values.read_env_files(options.many("env-file"), environ=True) + options.many("env")
    said = {one.partition("=")[0] for one in env}
    env += [f"{name}={text}" for name, text in proxies.items() if name not in said]
    labels = values.read_env_files(options.many("label-file"), environ=False)
    config: Body = {
        "Hostname": options.text("hostname"),
        "Domainname": options.text("domainname"),
        "User": options.text("user"),
        "AttachStdin": stdin or "stdin" in attached,
        "AttachStdout": not attached or "stdout" in attached,
        "AttachStderr": not attached or "stderr" in attached,
        "Tty": options.on("tty"),
        "OpenStdin": stdin,
        "Env": env,
        "Cmd": words[1:] or None,
        "Image": words[0],
        "WorkingDir": options.text("workdir"),
        "Entrypoint": [options.text("entrypoint")] if options.changed("entrypoint") else None,
        "Labels": dict(values.pair(one) for one in [*labels, *options.many("label")]),
        "StopSignal": options.text("stop-signal"),
    }
    # When stdin is allocated in attached mode it is closed as the client goes away.
    config["StdinOnce"] = config["OpenStdin"] and config["AttachStdin"]
    if options.changed("stop-timeout"):
        config["StopTimeout"] = options.number("stop-timeout")
    health = health_config(options)
    if health is not None:
        config["Healthcheck"] = health
    return config


def health_config(options: Options) -> Body | None:
    """``Healthcheck``, or None when no flag speaks of it."""
    durations = ("interval", "timeout", "start-period", "start-interval")
    given = (
        options.text("health-cmd") != ""
        or any(options.value(f"health-{name}") for name in durations)
        or options.number("health-retries") != 0
        or options.text("on-unhealthy") != ""
    )
    if options.on("no-healthcheck"):
        if given:
            raise ValueError("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    if not given:
        return None
    for name in durations:
        if options.value(f"health-{name}") < 0:
            raise ValueError(f"--health-{name} cannot be negative")
    if options.number("health-retries") < 0:
        raise ValueError("--health-retries cannot be negative")
    if options.text("on-unhealthy") not in ("", "none", "restart", "stop", "kill"):
        raise ValueError("--on-unhealthy must be none, restart, stop or kill")
    command = options.text("health-cmd")
    health: Body = {
        "Test": ["CMD-SHELL", command] if command else None,
        "Interval": options.value("health-interval"),
        "Timeout": options.value("health-timeout"),
        "StartPeriod": options.value("health-start-period"),
        "StartInterval": options.value("health-start-interval"),
        "Retries": options.number("health-retries"),
    }
    if options.text("on-unhealthy"):
        health["OnUnhealthy"] = options.text("on-unhealthy")
    return health


def _host(options: Options) -> Body:
    security, masked, readonly = security_options(options.many("security-opt"))
    restart = values.restart_policy(options.text("restart"))
    added, dropped = capabilities(options.many("cap-add"), options.many("cap-drop"))
    if options.on("rm") and restart["Name"] not in ("", "no"):
        raise ValueError("conflicting options: cannot specify both --restart and --rm")
    host: Body = {
        "Annotations": dict(options.value("annotation")),
        "AutoRemove": options.on("rm"),
        "CapAdd": added or None,
        "CapDrop": dropped or None,
        "CgroupnsMode": _mode(options, "cgroupns", "CGROUP", ("host", "private")),
        "ContainerIDFile": options.text("cidfile"),
        "Dns": options.many("dns"),
        "DnsOptions": options.many("dns-option") + options.many("dns-opt"),
        "DnsSearch": options.many("dns-search"),
        "ExtraHosts": options.many("add-host") or None,
        "GroupAdd": options.many("group-add") or None,
        "IpcMode": options.text("ipc"),
        "Isolation": options.text("isolation"),
        "Links": options.many("link") or None,
        "LogConfig": _log_config(options),
        "Mounts": options.value("mount") or None,
        "OomScoreAdj": options.number("oom-score-adj"),
        "PidMode": _mode(options, "pid", "PID", ("host",), container=True),
        "Privileged": options.on("privileged"),
        "PublishAllPorts": options.on("publish-all"),
        "ReadonlyRootfs": options.on("read-only"),
        "RestartPolicy": {"MaximumRetryCount": 0, **restart},
        "Runtime": options.text("runtime"),
        "SecurityOpt": security or None,
        "ShmSize": options.value("shm-size"),
        "StorageOpt": dict(_storage(one) for one in options.many("storage-opt")),
        "Sysctls": dict(options.value("sysctl")),
        "Tmpfs": mountspec.tmpfs(options.many("tmpfs")),
        "UsernsMode": _mode(options, "userns", "USER", ("host",)),
        "UTSMode": _mode(options, "uts", "UTS", ("host",)),
        "VolumeDriver": options.text("volume-driver"),
        "VolumesFrom": options.many("volumes-from") or None,
        **resources(options),
        **_limits(options),
    }
    if masked is not None:
        host["MaskedPaths"], host["ReadonlyPaths"] = masked, readonly
    if options.many("depends-on"):
        host["DependsOn"] = options.many("depends-on")
    if options.changed("init"):
        host["Init"] = options.on("init")
    return host


def resources(options: Options) -> Body:
    """What ``run`` and ``update`` share."""
    return {
        "BlkioWeight": options.number("blkio-weight"),
        "CpuPeriod": options.number("cpu-period"),
        "CpuQuota": options.number("cpu-quota"),
        "CpuRealtimePeriod": options.number("cpu-rt-period"),
        "CpuRealtimeRuntime": options.number("cpu-rt-runtime"),
        "CpuShares": options.number("cpu-shares"),
        "CpusetCpus": options.text("cpuset-cpus"),
        "CpusetMems": options.text("cpuset-mems"),
        "Memory": options.value("memory"),
        "MemoryReservation": options.value("memory-reservation"),
        "MemorySwap": options.value("memory-swap"),
        "NanoCpus": options.value("cpus"),
        "PidsLimit": options.number("pids-limit"),
    }


def _limits(options: Options) -> Body:
    swappiness = options.number("memory-swappiness")
    if swappiness != -1 and not 0 <= swappiness <= 100:
        raise ValueError(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")
    devices = options.many("device")
    named = [one for one in devices if values.cdi_device(one)]
    requests = list(options.value("gpus"))
    if named:
        requests.append({"Driver": "cdi", "DeviceIDs": named})
    return {
        "BlkioWeightDevice": options.value("blkio-weight-device"),
        "BlkioDeviceReadBps": options.value("device-read-bps"),
        "BlkioDeviceReadIOps": options.value("device-read-iops"),
        "BlkioDeviceWriteBps": options.value("device-write-bps"),
        "BlkioDeviceWriteIOps": options.value("device-write-iops"),
        "CgroupParent": options.text("cgroup-parent"),
        "CpuCount": options.number("cpu-count"),
        "CpuPercent": options.number("cpu-percent"),
        "DeviceCgroupRules": options.many("device-cgroup-rule") or None,
        "DeviceRequests": requests or None,
        "Devices": [values.device(one) for one in devices if one not in named],
        "IOMaximumBandwidth": options.value("io-maxbandwidth"),
        "IOMaximumIOps": options.number("io-maxiops"),
        "MemorySwappiness": swappiness,
        "OomKillDisable": options.on("oom-kill-disable"),
        "Ulimits": list({one["Name"]: one for one in options.value("ulimit")}.values()),
    }


def _log_config(options: Options) -> Body:
    driver, words = options.text("log-driver"), options.many("log-opt")
    if driver == "none" and words:
        raise ValueError(f"invalid logging opts for driver {driver}")
    return {"Type": driver, "Config": dict(values.pair(one) for one in words)}


def _mode(
    options: Options, flag: str, title: str, plain: tuple[str, ...], container: bool = False
) -> str:
    mode = options.text(flag)
    named = container and mode.startswith("container:") and mode != "container:"
    if mode and mode not in plain and not named:
        raise ValueError(f"--{flag}: invalid {title} mode")
    return mode


def capabilities(add: list[str], drop: list[str]) -> tuple[list[str], list[str]]:
    """Names in full (``CAP_NET_ADMIN``), sorted; ``ALL`` stands for every other; what is both
    added and dropped is added."""

    def full(words: list[str]) -> set[str]:
        names = {word.strip().upper() for word in words}
        if "ALL" in names:
            return {"ALL"}
        return {name if name.startswith("CAP_") else f"CAP_{name}" for name in names}

    added = full(add)
    return sorted(added), sorted(full(drop) - added)


def _storage(word: str) -> tuple[str, str]:
    key, equals, text = word.partition("=")
    if not equals:
        raise ValueError("invalid storage option")
    return key, text


def security_options(
    words: list[str],
) -> tuple[list[str], list[str] | None, list[str] | None]:
    """``SecurityOpt`` with the seccomp profile's text in place of its file, and what
    ``systempaths=unconfined`` makes of ``MaskedPaths`` and ``ReadonlyPaths``."""
    found: list[str] = []
    masked: list[str] | None = None
    readonly: list[str] | None = None
    for word in words:
        if word == "systempaths=unconfined":
            masked, readonly = [], []
            continue
        key, equals, text = word.partition("=")
        if not equals and key != "no-new-privileges":
            key, equals, text = word.partition(":")
        if not text and key != "no-new-privileges":
            raise ValueError(f'Invalid --security-opt: "{word}"')
        if key == "seccomp" and text not in ("builtin", "unconfined"):
            word = f"seccomp={_profile(text)}"
        found.append(word)
    return found, masked, readonly


def _profile(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            content = file.read()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ValueError(
            f"opening seccomp profile ({path}) failed: open {path}: {reason}"
        ) from None
    try:
        return json.dumps(json.loads(content), separators=(",", ":"), ensure_ascii=False)
    except ValueError as error:
        raise ValueError(f"compacting json for seccomp profile ({path}) failed: {error}") from None
