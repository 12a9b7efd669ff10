"""A small volume plugin, as a process: ``volume_plugin.py SOCKET STATE_DIR``.

What it was asked is appended to ``STATE_DIR/log``. A file ``STATE_DIR/mood`` changes its ways:
``hang`` never answers, ``garbage`` answers no JSON, ``refuse`` answers an error, ``die`` ends.
"""

from __future__ import annotations

import json
import os
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any


class Handler(BaseHTTPRequestHandler):
    state: Path

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = json.loads(body or b"{}")
        with (self.state / "log").open("a") as log:
            log.write(json.dumps([self.path, asked]) + "\n")
        mood = (self.state / "mood").read_text() if (self.state / "mood").exists() else ""
        if mood == "hang":
            threading.Event().wait()
        if mood == "die":
            os._exit(1)
        answer = b"not json" if mood == "garbage" else json.dumps(self.answer(asked, mood)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def answer(self, asked: dict[str, Any], mood: str) -> dict[str, Any]:
        if mood == "refuse":
            return {"Err": "the plugin is in a bad mood"}
        method = self.path.rpartition(".")[2]
        volumes = self.state / "volumes"
        volumes.mkdir(exist_ok=True)
        if method == "Activate":
            return {"Implements": ["VolumeDriver"]}
        if method == "Capabilities":
            return {"Capabilities": {"Scope": "global"}}
        if method == "List":
            return {"Volumes": [self.shown(each) for each in sorted(volumes.iterdir())]}
        place = volumes / asked["Name"]
        if method == "Create":
            place.mkdir(exist_ok=True)
            return {"Err": ""}
        if not place.exists():
            return {"Err": "no such volume"}
        if method == "Remove":
            place.rmdir()
            return {"Err": ""}
        if method == "Get":
            return {"Volume": {**self.shown(place), "Status": {"mood": "good"}}}
        return {"Mountpoint": str(place), "Err": ""}

    def shown(self, place: Path) -> dict[str, Any]:
        return {"Name": place.name, "Mountpoint": str(place), "CreatedAt": "2026-01-02T03:04:05Z"}

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        return None


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


if __name__ == "__main__":
    Handler.state = Path(sys.argv[2])
    Server(sys.argv[1], Handler).serve_forever()
