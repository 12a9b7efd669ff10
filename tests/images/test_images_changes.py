from __future__ import annotations

from typing import Any

import pytest

from wherry.errors import Invalid
from wherry.images.changes import apply


@pytest.mark.parametrize(
    ("line", "want"),
    [
        ('CMD ["a", "b c"]', {"Cmd": ["a", "b c"]}),
        ("CMD echo $HOME", {"Cmd": ["/bin/sh", "-c", "echo $HOME"]}),
        ("cmd []", {"Cmd": []}),
        ('ENTRYPOINT ["/init"]', {"Entrypoint": ["/init"], "Cmd": None}),
        ("ENV A=1 B=\"two words\" C='$A'", {"Env": ["A=1", "B=two words", "C=$A"]}),
        ("ENV KEY the rest of it", {"Env": ["KEY=the rest of it"]}),
        ("EXPOSE 80 53/udp 8000-8002", {
            "ExposedPorts": {"80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {},
                             "8002/tcp": {}}}),
        ("LABEL a=b \"c d\"='e f'", {"Labels": {"a": "b", "c d": "e f"}}),
        ("HEALTHCHECK NONE", {"Healthcheck": {"Test": ["NONE"]}}),
        ("HEALTHCHECK --interval=5s --retries=3 CMD curl localhost", {
            "Healthcheck": {"Test": ["CMD-SHELL", "curl localhost"], "Interval": 5_000_000_000,
                            "Retries": 3}}),
        ('HEALTHCHECK CMD ["ok"]', {"Healthcheck": {"Test": ["CMD", "ok"]}}),
        ("ONBUILD RUN make", {"OnBuild": ["RUN make"]}),
        ("STOPSIGNAL SIGINT", {"StopSignal": "SIGINT"}),
        ("USER app:staff", {"User": "app:staff"}),
        ('VOLUME ["/a", "/b c"]', {"Volumes": {"/a": {}, "/b c": {}}}),
        ("VOLUME /a /b", {"Volumes": {"/a": {}, "/b": {}}}),
        ("WORKDIR sub/../work", {"WorkingDir": "/work"}),
    ],
)  # fmt: skip
def test_one_instruction(line: str, want: dict[str, Any]) -> None:
    assert apply({}, [line]) == want


def test_what_is_there_is_kept_and_replaced_in_place() -> None:
    before = {
        "Env": ["PATH=/bin", "A=old"],
        "Labels": {"x": "1"},
        "WorkingDir": "/srv",
        "Cmd": ["sh"],
    }
    after = apply(
        before, ["ENV A=new B=$PATH:/sbin", "LABEL y=2", "WORKDIR app", "EXPOSE ${PORT:-80}"]
    )
    assert after == {
        "Env": ["PATH=/bin", "A=new", "B=/bin:/sbin"],
        "Labels": {"x": "1", "y": "2"},
        "WorkingDir": "/srv/app",
        "Cmd": ["sh"],
        "ExposedPorts": {"80/tcp": {}},
    }
    assert before["Env"] == ["PATH=/bin", "A=old"]


def test_an_entry_point_after_a_command_keeps_it() -> None:
    assert apply({}, ["CMD a", 'ENTRYPOINT ["b"]'])["Cmd"] == ["/bin/sh", "-c", "a"]
    assert apply({"Cmd": ["x"]}, ['ENTRYPOINT ["b"]'])["Cmd"] is None


def test_lines_are_joined_and_comments_left_out() -> None:
    changes = ["# a note\nENV A=1 \\\n  B=2", "  USER x  "]
    assert apply({}, changes) == {"Env": ["A=1", "B=2"], "User": "x"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("FROM scratch", "FROM is not a valid change command"),
        ("run make", "run is not a valid change command"),
        ("CMD", "CMD requires at least one argument"),
        ("ENV A=1 B", "can't find = in 'B'"),
        ("ENV A", "ENV must have two arguments"),
        ("ENV =x", "names can not be blank"),
        ("ENV A='open", "single-quote"),
        ('LABEL a="open', "double-quote"),
        ("EXPOSE none", "Invalid containerPort: none"),
        ("EXPOSE 99999", "Invalid containerPort: 99999"),
        ("EXPOSE 80/icmp", "Invalid proto: icmp"),
        ("HEALTHCHECK curl", "Unknown type 'curl' in HEALTHCHECK"),
        ("HEALTHCHECK --interval=x CMD y", "invalid duration"),
        ("HEALTHCHECK --colour=red CMD y", "unknown flag: --colour"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("STOPSIGNAL SIGNONE", "invalid signal: SIGNONE"),
        ('VOLUME [""]', "VOLUME specified can not be an empty string"),
        ("USER ${A:?is needed}", "A: is needed"),
        ("USER ${A", "missing '}'|bad substitution|unsupported modifier"),
    ],
)
def test_a_wrong_instruction_is_named(line: str, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        apply({}, [line])


@pytest.mark.parametrize(
    "change",
    [
        "HEALTHCHECK --retries=" + "9" * 5000 + " CMD x",
        "ENV A=" + "${a:-" * 800 + "}" * 800,
    ],
    ids=["a long number", "deep"],
)
def test_what_is_too_much_is_invalid(change: str) -> None:
    with pytest.raises(Invalid):
        apply({}, [change])
