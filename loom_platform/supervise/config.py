"""supervisord's configuration, written anew at each `loom up`."""

import hashlib
import os
import shlex
from pathlib import Path

from loom_platform.errors import SettingsError
from loom_platform.supervise.services import REPOSITORY, Service

# A child that dies is started again after 1 s, 2 s, 3 s, ... ; after this many times it is left for dead.
RESTARTS = 100
UNTIL_STARTED_SECONDS = 3
LOG_BYTES = "10MB"
LOG_BACKUPS = 3

_HEAD = """\
; written by `loom up`; changes are lost
[unix_http_server]
file={socket}
chmod=0700

[supervisord]
nodaemon=true
logfile={logs}/supervisord.log
logfile_maxbytes={log_bytes}
logfile_backups={log_backups}
pidfile={run}/supervisord.pid
childlogdir={logs}
loglevel=info
{user}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""

_PROGRAM = """\

[program:{name}]
command={command}
directory={directory}
environment={environment}
autostart=false
autorestart=true
startsecs={start_seconds}
startretries={restarts}
stopsignal={stop_signal}
stopwaitsecs={stop_seconds}
stopasgroup={group}
killasgroup=true
redirect_stderr=true
stdout_logfile={logs}/{name}.log
stdout_logfile_maxbytes={log_bytes}
stdout_logfile_backups={log_backups}
{user}"""


def supervisord_config(services: tuple[Service, ...], run: Path, logs: Path, socket: Path) -> str:
    """The configuration text for the services that have something to launch."""
    limits = {"log_bytes": LOG_BYTES, "log_backups": LOG_BACKUPS, "logs": logs}
    user = "user=root\n" if os.geteuid() == 0 else ""
    text = _HEAD.format(socket=socket, run=run, user=user, **limits)
    code = fingerprint(REPOSITORY)
    for service in services:
        if service.launch is None:
            continue
        launch = service.launch()
        environment = dict(launch.environment)
        if "DAGSTER_HOME" in environment:
            # Loom's own processes are started anew when their code has changed
            environment["LOOM_CODE"] = code
        text += _PROGRAM.format(
            name=service.name,
            command=_escaped(shlex.join(launch.command)),
            directory=_escaped(str(launch.directory)),
            environment=",".join(f"{k}={_quoted(k, v)}" for k, v in sorted(environment.items())),
            start_seconds=UNTIL_STARTED_SECONDS,
            restarts=RESTARTS,
            stop_signal=launch.stop_signal.name.removeprefix("SIG"),
            stop_seconds=service.stop_seconds,
            group=str(service.group).lower(),
            user=f"user={launch.user}\n" if launch.user else "",
            **limits,
        )
    return text


def fingerprint(repository: Path) -> str:
    """A digest that changes with the source of Loom and with its lock."""
    files = [p for package in repository.glob("loom_*") for p in package.rglob("*.py")]
    files += [*repository.glob("sql/*.sql"), *repository.glob("*.yaml"), *repository.glob("deploy/locks/default.txt")]
    digest = hashlib.sha256()
    for path in sorted(files):
        stat = path.stat()
        digest.update(f"{path}:{stat.st_mtime_ns}:{stat.st_size}\n".encode())
    return digest.hexdigest()[:16]


def _escaped(value: str) -> str:
    return value.replace("%", "%%")


def _quoted(name: str, value: str) -> str:
    quote = "'" if '"' in value else '"'
    # it strips every quote from either end
    if quote in value or "\n" in value or value.strip("'\"") != value:
        raise SettingsError(f"{name}={value!r}: supervisord cannot pass on its quotes or line breaks; drop them")
    return quote + _escaped(value) + quote
