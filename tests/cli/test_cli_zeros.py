"""``inspect --format`` and the fields that the API leaves out when they are empty."""

from __future__ import annotations

import pytest
from tests.cli.fake_daemon import FakeDaemon

from wherry.cli.main import main

CONTAINER = {
    "Name": "/web",
    "State": {"Running": True},
    "Config": {"Env": ["A=b"]},
    "HostConfig": {"Memory": 0},
    "Mounts": [{"Type": "bind", "Source": "/a", "Destination": "/b"}],
}


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}", "none"),
        ("{{range .HostConfig.Mounts}}{{.Source}}{{end}}{{len .HostConfig.Tmpfs}}", "0"),
        ("{{json .HostConfig.Sysctls}} {{.HostConfig.Init}} {{.SizeRw}}", "null <nil> <nil>"),
        ("{{with .Config.ExposedPorts}}some{{else}}none{{end}}", "none"),
        ("{{.Config.StopSignal}}|{{.Config.Tty}}|{{json .Config.Shell}}", "|false|null"),
        ("{{range .Mounts}}{{.Name}}|{{.Source}}{{end}}", "|/a"),
        # What came is all that is there for JSON and loops.
        ("{{.Config.Shell}} {{json .Config}}", '<nil> {"Env":["A=b"]}'),
        ("{{range $name, $_ := .State}}{{$name}}{{end}}", "Running"),
    ],
)
def test_an_omitted_field_is_its_zero(
    daemon: FakeDaemon, template: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.on("GET", "/containers/web/json", CONTAINER)
    assert main(["inspect", "-f", template, "web"]) == 0
    assert capsys.readouterr().out == shown + "\n"


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{{.Nope}}", "Nope"),
        ("{{.HostConfig.Nope}}", "Nope"),
        ("{{.State.Health.Status}}", "Health"),
    ],
)
def test_an_unknown_field_is_an_error(
    daemon: FakeDaemon, template: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.on("GET", "/containers/web/json", CONTAINER)
    assert main(["inspect", "-f", template, "web"]) == 1
    assert f'map has no entry for key "{name}"' in capsys.readouterr().err


def test_an_image(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.on("GET", "/images/img/json", {"Id": "sha256:1", "Config": {}})
    template = "{{.Parent}}|{{.Author}}|{{json .Config.Labels}}|{{len .Config.Volumes}}"
    assert main(["image", "inspect", "-f", template, "img"]) == 0
    assert capsys.readouterr().out == "||null|0\n"
