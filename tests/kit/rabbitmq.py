"""A real RabbitMQ as a child of the test: own ports, own data, own epmd, gone when it is stopped.

Needs the package ``rabbitmq-server`` of Debian; works as root and as an ordinary user. A start takes about
ten seconds, so share one broker per test module::

    @pytest.fixture(scope="module")
    def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitBroker]:
        with RabbitBroker(tmp_path_factory.mktemp("rabbit")) as broker:
            yield broker
"""

import base64
import hashlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from tests.kit.ports import free_port

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
CTL = Path("/usr/lib/rabbitmq/bin/rabbitmqctl")
USER = "edge"
PASSWORD = "correct horse"
START_SECONDS = 90


@dataclass(frozen=True)
class BrokerTls:
    """Files in PEM for the TLS listener; the client's certificate logs in by its common name (EXTERNAL)."""

    ca: Path
    cert: Path
    key: Path
    require_client_certificate: bool = True


@dataclass(frozen=True)
class User:
    """A user beside ``USER``; a pattern is a regular expression of resource names, as in RabbitMQ."""

    name: str
    password: str | None = None
    configure: str = ""
    write: str = ".*"
    read: str = ".*"


class RabbitBroker:
    """One node; ``start`` and ``stop`` may alternate, the data stays in ``root``.

    Args:
        root: an empty directory for data, logs and configuration.
        tls: adds a TLS listener at ``tls_port``.
        users: more users; ``USER`` with ``PASSWORD`` may do everything.
        config: more lines of rabbitmq.conf, such as ``max_message_size = 100000``.
    """

    def __init__(
        self, root: Path, *, tls: BrokerTls | None = None, users: tuple[User, ...] = (), config: str = ""
    ) -> None:
        self.root = root
        self.port = free_port()
        self.tls_port = free_port()
        self._epmd_port = free_port()
        self._dist_port = free_port()
        self._tls = tls
        self._users = (User(USER, PASSWORD, configure=".*"), *users)
        self._config = config
        self._server: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What the sink's ``url`` would be, without credentials."""
        return f"amqp://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        """The same over TLS."""
        return f"amqps://localhost:{self.tls_port}"

    def start(self) -> None:
        """Starts the node and returns when it takes connections."""
        self._write_files()
        if self._epmd is None:
            self._epmd = subprocess.Popen(
                ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"],
                env=self._environment(),
                stderr=subprocess.DEVNULL,
            )
            self._wait_for(self._epmd_port)
        with (self.root / "console.log").open("ab") as console:
            self._server = subprocess.Popen(
                [SERVER], env=self._environment(), stdout=console, stderr=console, start_new_session=True
            )
        self._wait_for(self.port)
        if self._tls:
            self._wait_for(self.tls_port)

    def stop(self) -> None:
        """Asks the node to end and waits; epmd and every helper process are gone afterwards."""
        self._end(signal.SIGTERM)
        if self._epmd is not None:
            self._epmd.terminate()
            self._epmd.wait()
            self._epmd = None

    def kill(self) -> None:
        """The node dies as with kill -9; ``start`` brings it back with what was on its disk."""
        self._end(signal.SIGKILL)

    def ctl(self, *arguments: str) -> str:
        """What ``rabbitmqctl`` prints; takes a second or two."""
        done = subprocess.run(
            [CTL, *arguments], env=self._environment(), capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    def log(self) -> str:
        """Everything the node logged."""
        return "\n".join(path.read_text(errors="replace") for path in sorted((self.root / "log").glob("*.log")))

    async def connect(self) -> aio_pika.abc.AbstractConnection:
        """A connection as ``USER``, for the test itself."""
        return await aio_pika.connect(host="127.0.0.1", port=self.port, login=USER, password=PASSWORD, timeout=10)

    async def declare(
        self,
        queue: str,
        *,
        exchange: str = "",
        kind: str = "topic",
        binding: str = "#",
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """A durable queue, bound to a durable exchange unless that is the default exchange."""
        async with await self.connect() as connection:
            channel = await connection.channel()
            declared = await channel.declare_queue(queue, durable=True, arguments=dict(arguments or {}))
            if exchange:
                await channel.declare_exchange(exchange, kind, durable=True)
                await declared.bind(exchange, binding)

    async def delete(self, *, queue: str | None = None, exchange: str | None = None) -> None:
        """Removes a queue or an exchange with all its bindings; what does not exist is fine."""
        async with await self.connect() as connection:
            channel = await connection.channel()
            if queue:
                await channel.queue_delete(queue)
            if exchange:
                await channel.exchange_delete(exchange)

    async def depth(self, queue: str) -> int:
        """Messages ready in the queue."""
        async with await self.connect() as connection:
            channel = await connection.channel()
            declared = await channel.declare_queue(queue, passive=True)
            return declared.declaration_result.message_count or 0

    async def take(self, queue: str) -> list[AbstractIncomingMessage]:
        """Every message ready in the queue, in order; they are acknowledged and gone."""
        taken: list[AbstractIncomingMessage] = []
        async with await self.connect() as connection:
            channel = await connection.channel()
            declared = await channel.declare_queue(queue, passive=True)
            while message := await declared.get(fail=False, no_ack=True):
                taken.append(message)
        return taken

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _end(self, how: signal.Signals) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.send_signal(how)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()

    def _wait_for(self, port: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._server is not None and self._server.poll() is not None:
                break
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.1)
        console = self.root / "console.log"
        text = console.read_text(errors="replace")[-4000:] if console.exists() else ""
        raise RuntimeError(f"RabbitMQ does not listen on {port}\n{text}\n{self.log()[-4000:]}")

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self.root),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"edge{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONF_ENV_FILE": str(self.root / "env.conf"),
            "RABBITMQ_CONFIG_FILE": str(self.root / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.root / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.root / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.root / "data"),
            "RABBITMQ_LOG_BASE": str(self.root / "log"),
            "RABBITMQ_PID_FILE": str(self.root / "pid"),
            # One scheduler that does not spin: the machine is shared.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none",
            # Without the wrapping shell: the child is the node itself.
            "RUNNING_UNDER_SYSTEMD": "1",
        }

    def _write_files(self) -> None:
        for folder in ("data", "log"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        cookie = self.root / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(os.urandom(16).hex(), encoding="ascii")
            cookie.chmod(0o400)
        (self.root / "env.conf").write_text("", encoding="ascii")
        (self.root / "enabled_plugins").write_text(
            "[rabbitmq_auth_mechanism_ssl]." if self._tls else "[].", encoding="ascii"
        )
        (self.root / "definitions.json").write_text(json.dumps(self._definitions()), encoding="utf-8")
        (self.root / "rabbitmq.conf").write_text(self._configuration(), encoding="utf-8")

    def _configuration(self) -> str:
        lines = [
            f"listeners.tcp.1 = 127.0.0.1:{self.port}",
            f"load_definitions = {self.root / 'definitions.json'}",
            "disk_free_limit.absolute = 1MB",
            "log.file.level = info",
            "log.console = false",
            "auth_mechanisms.1 = PLAIN",
        ]
        if self._tls:
            required = str(self._tls.require_client_certificate).lower()
            lines += [
                f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}",
                f"ssl_options.cacertfile = {self._tls.ca}",
                f"ssl_options.certfile = {self._tls.cert}",
                f"ssl_options.keyfile = {self._tls.key}",
                "ssl_options.verify = verify_peer",
                f"ssl_options.fail_if_no_peer_cert = {required}",
                "auth_mechanisms.2 = EXTERNAL",
                "ssl_cert_login_from = common_name",
            ]
        return "\n".join([*lines, self._config, ""])

    def _definitions(self) -> dict[str, Any]:
        return {
            "vhosts": [{"name": "/"}],
            "users": [
                {
                    "name": user.name,
                    "password_hash": _password_hash(user.password) if user.password else "",
                    "hashing_algorithm": "rabbit_password_hashing_sha256",
                    "tags": "",
                }
                for user in self._users
            ],
            "permissions": [
                {
                    "user": user.name,
                    "vhost": "/",
                    "configure": user.configure,
                    "write": user.write,
                    "read": user.read,
                }
                for user in self._users
            ],
        }


def _password_hash(password: str) -> str:
    salt = os.urandom(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode("ascii")
