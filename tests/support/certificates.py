"""Real certificates, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


def certificates(folder: Path) -> None:
    """An authority, and server and client certificates of it; ``rogue``: of another one."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("ca", "otherca"):
        authority_request = ("req", "-x509", *key, "-subj", f"/CN={name}", "-days", "2")
        openssl(folder, *authority_request, "-keyout", f"{name}.key", "-out", f"{name}.pem")
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1\n")
    for name, authority in (("server", "ca"), ("client", "ca"), ("rogue", "otherca")):
        request = ("req", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key")
        openssl(folder, *request, "-out", f"{name}.csr")
        sign = ("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem")
        options = ("-CAkey", f"{authority}.key", "-CAcreateserial", "-days", "2")
        openssl(folder, *sign, *options, "-extfile", "san", "-out", f"{name}.pem")
