"""``update`` by every client: Docker's flags everywhere, Wherry's own in its own command."""

from __future__ import annotations

import docker
import pytest
from tests.support.clients import Cli
from tests.support.engine import Engine
from tests.support.images import BASE
from tests.support.limits import memory_limit

pytestmark = [
    pytest.mark.root,
    # docker-py leaves response sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def start(cli: Cli, name: str, *flags: str) -> None:
    cli("run", "-d", "--network", "none", *flags, "--name", name, BASE, "sleep", "1000").ok()


def pid_of(cli: Cli, name: str) -> int:
    return int(cli("inspect", "--format", "{{.State.Pid}}", name).ok())


def test_limits_and_policy(cli: Cli) -> None:
    start(cli, "one")
    start(cli, "two")
    flags = ("--memory", "64m", "--memory-swap", "128m", "--cpus", "0.5", "--pids-limit", "20")
    assert cli("update", *flags, "--restart", "on-failure:2", "one", "two").ok() == "one\ntwo"
    assert memory_limit(pid_of(cli, "two")) == 64 << 20
    shown = "{{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}} {{.HostConfig.RestartPolicy.Name}}"
    assert cli("inspect", "--format", shown, "one").ok() == "500000000 20 on-failure"
    failed = cli("update", "--memory", "1k", "one")
    assert failed.code == 1
    assert "memory limit" in failed.err
    nothing = cli("update", "one")
    assert nothing.code == 1
    assert "one or more flags" in nothing.err
    assert cli("update", "--cpus", "1", "gone").code == 1


def test_more_than_docker(cli: Cli) -> None:
    if not cli.program.is_wherry:
        assert cli("update", "--env", "A=1", "any").code != 0
        return
    start(cli, "web", "--label", "old=1", "--tmpfs", "/t")
    said = cli(
        "update", "-e", "A=1", "-l", "new=2", "--label-rm", "old", "--mount",
        "type=tmpfs,target=/more", "--mount-rm", "/t", "--health-cmd", "true",
        "--health-retries", "4", "--on-unhealthy", "kill", "web",
    ).ok()  # fmt: skip
    assert said.split("\n") == [
        "web",
        "  applied: Labels, Healthcheck, Mounts /more, Mounts /t",
        "  at the next start: Env",
    ]
    shown = "{{json .Config.Labels}} {{.Config.Healthcheck.Retries}} {{len .Mounts}}"
    assert cli("inspect", "--format", shown, "web").ok() == '{"new":"2"} 4 1'
    assert cli("exec", "web", "sh", "-c", "echo $A").ok() == "1"
    said = cli("update", "--env-rm", "A", "--env-rm", "B", "--no-healthcheck", "web").ok()
    assert said.endswith("--env-rm: the container has no variable B")
    said = cli("update", "--publish-rm", "80", "--label-rm", "Env", "web").ok()
    assert "--publish-rm: 80/tcp is not published" in said
    assert "--label-rm: the container has no label Env" in said
    for flags, words in (
        (["--health-cmd", "x", "--no-healthcheck"], "--no-healthcheck conflicts"),
        (["--env", "A=1", "--env-rm", "A"], "--env and --env-rm both name A"),
        (["--publish", "80"], "--publish: "),
        (["--publish", "x:y"], "invalid"),
        (["--mount", "type=tmpfs"], "target is required"),
        (["--mount-rm", "x"], "--mount-rm"),
    ):
        failed = cli("update", *flags, "web")
        assert failed.code != 0
        assert words in failed.err, failed


def test_docker_py(engine: Engine) -> None:
    client = docker.DockerClient(base_url=engine.host)
    try:
        made = client.containers.run(BASE, "sleep 1000", detach=True, network_mode="none")
        engine.seen.add(made.id)
        answer = made.update(
            mem_limit="64m", memswap_limit="64m", restart_policy={"Name": "always"}
        )
        assert answer["Warnings"] == []
        made.reload()
        assert made.attrs["HostConfig"]["Memory"] == 64 << 20
        assert memory_limit(made.attrs["State"]["Pid"]) == 64 << 20
        made.remove(force=True)
    finally:
        client.close()
