"""Real tritonservers, of the wheel nvidia-pytriton in an environment of their own; what cannot be had here is a reason to skip."""

import os
import re
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from serving.triton.connection import Server
from setup.environments import SERVER, TRITON, Part

PART = Part(TRITON, SERVER)
READY_S = 60
"""Usual are 2 to 8, but other tests have the cores too."""


def packages() -> Path:
    """The environment's. Skips where it is not."""
    found = PART.folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    if not (PART.stamp.exists() and (found / "pytriton").exists()):
        pytest.skip(
            f"no Triton at {PART.folder}: `python -m setup.install {TRITON} {SERVER}` installs it, as `make test` does"
        )
    return found.absolute()


def library() -> Path:
    """The folder of this Python's shared library, which the backend's stub loads. Skips where it was built without."""
    name = f"libpython{sysconfig.get_python_version()}.so.1.0"
    folders = [Path(sysconfig.get_config_var("LIBDIR")), Path("/usr/lib/x86_64-linux-gnu")]
    for folder in folders:
        if (folder / name).exists():
            return folder
    pytest.skip(f"no {name}, which Triton's Python backend needs, in {', '.join(map(str, folders))}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def backends(folder: Path) -> Path:
    """Make the backend folder, with the stub for this Python."""
    own = packages() / "pytriton" / "tritonserver"
    shutil.copytree(own / "backends" / "python", folder / "python")
    shutil.copy(
        own / "python_backend_stubs" / sysconfig.get_python_version() / "triton_python_backend_stub", folder / "python"
    )
    return folder


class Triton:
    """A tritonserver on a model repository, in a process group of its own. `start` waits until it is ready."""

    def __init__(
        self, repository: Path, folder: Path, *, environment: Path | None = None, metrics: bool = False
    ) -> None:
        """`folder`: for its backends and its log. `environment`: whose Python the model runs in, by default Triton's own."""
        self.repository, self.port, self.metrics_port = repository.absolute(), free_port(), free_port()
        self.url = f"127.0.0.1:{self.port}"
        self._folder = folder
        self._log = folder / f"{self.port}.log"
        self._backends = folder / f"{self.port}.backends"
        self._environment, self._metrics = (environment or PART.folder).absolute(), metrics
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Triton":
        if not self._backends.exists():
            backends(self._backends)
        found = packages()
        command = [
            str(found / "pytriton" / "tritonserver" / "bin" / "tritonserver"),
            f"--model-repository={self.repository}",
            f"--backend-directory={self._backends}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={self.port}",
            "--allow-http=false",
            f"--allow-metrics={str(self._metrics).lower()}",
            "--metrics-address=127.0.0.1",
            f"--metrics-port={self.metrics_port}",
        ]
        environment = (
            os.environ
            | {
                "PATH": f"{self._environment / 'bin'}:{os.environ['PATH']}",  # the stub takes its packages from this Python's environment
                "LD_LIBRARY_PATH": f"{found / 'nvidia_pytriton.libs'}:{library()}",
                "OMP_NUM_THREADS": "1",
            }
        )
        with self._log.open("ab") as log:
            # Not where the checkout is: what the repository lacks is not to be found.
            self._process = subprocess.Popen(
                command, env=environment, cwd=self._folder, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def wait(self) -> "Triton":
        """Return once it is ready; fails where it ends first."""
        until_s = time.monotonic() + READY_S
        with Server(self.url) as server:
            while time.monotonic() < until_s:
                if self.process.poll() is not None:
                    pytest.fail(f"tritonserver ended:\n{self.log[-3000:]}")
                try:
                    if server.client.is_server_ready(client_timeout=1):
                        return self
                except server.error:
                    pass
                time.sleep(0.1)
        pytest.fail(f"tritonserver was not ready:\n{self.log[-3000:]}")

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self._process
        return self._process

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def stubs(self) -> list[int]:
        """Processes of its Python models."""
        listed = subprocess.run(
            ["ps", "-o", "pid=,comm=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return [int(line.split()[0]) for line in listed.stdout.splitlines() if "triton_python" in line]

    def crash(self) -> None:
        """End it at once, as where memory runs out, and what that leaves in memory; its stubs find out by themselves."""
        pattern = r"/dev/shm/triton_python_backend_shm_region_\S+"  # noqa: S108 -- Triton's
        regions = set(re.findall(pattern, Path(f"/proc/{self.process.pid}/maps").read_text()))
        self.process.kill()
        self.process.wait()
        for region in regions:
            Path(region).unlink(missing_ok=True)

    def stop(self) -> None:
        """End it as a supervisor does; what it leaves after that is ended too."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.crash()


@contextmanager
def running(*servers: Triton) -> Iterator[None]:
    """Start the servers, at the same time; stop them, as well as what was started anew meanwhile."""
    try:
        for server in servers:
            server.start()
        for server in servers:
            server.wait()
        yield
    finally:
        for server in servers:
            if server._process and server._process.poll() is None:
                server._process.terminate()
        for server in servers:
            server.stop()


@contextmanager
def proxied(servers: list[Triton], folder: Path) -> Iterator[str]:
    """Put nginx before the servers; yield its address. Skips where there is no nginx."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        pytest.skip("no nginx: `apt-get install nginx-light` is what .ci/run does")
    port = free_port()
    documented = Path("docs/serving.md").read_text(encoding="utf-8").split("```nginx\n")[1].split("```")[0]
    upstreams = "".join(f"server {server.url};\n" for server in servers)
    kept = "".join(f"{each}_temp_path {folder};\n" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    http = re.sub(r"(server triton-\d:8001;\s*)+", upstreams, documented).replace(
        "listen 8001", f"listen 127.0.0.1:{port}"
    )
    config = folder / "nginx.conf"
    config.write_text(f"pid {folder}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{kept}{http}}}\n")
    command = [nginx, "-p", str(folder), "-c", str(config), "-g", "daemon off; error_log stderr;"]
    with (
        (folder / "nginx.log").open("ab") as log,
        subprocess.Popen(command, stderr=log, start_new_session=True) as process,
    ):
        try:
            until_s = time.monotonic() + READY_S
            while socket.socket().connect_ex(("127.0.0.1", port)):
                if process.poll() is not None or time.monotonic() > until_s:
                    pytest.fail(f"nginx did not start:\n{(folder / 'nginx.log').read_text()}")
                time.sleep(0.05)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
