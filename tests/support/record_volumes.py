"""Records what Docker answers to ``volumecases``, for ``tests/clients/volumes_docker.json``.

    DOCKERD=/usr/sbin/dockerd .venv/bin/python -m tests.support.record_volumes

Run it as root in the repository; it starts a daemon of its own on a root of its own.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.support import volumecases
from tests.support.engine import Engine

FILE = Path(__file__).resolve().parents[1] / "clients" / "volumes_docker.json"


def main() -> None:
    with Engine("docker") as engine:
        engine.start()
        version = engine.get("/version").json["Version"]
        answers = {each.name: volumecases.run(engine, each) for each in volumecases.cases()}
    lines = [f"{json.dumps(name)}: {json.dumps(each)}" for name, each in answers.items()]
    head = f"made by tests/support/record_volumes.py with Docker {version}"
    body = ",\n".join([f'"": {json.dumps(head)}', *lines])
    FILE.write_text(f"{{\n{body}\n}}\n")
    print(f"{len(answers)} cases recorded")


if __name__ == "__main__":
    main()
