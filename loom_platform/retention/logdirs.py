"""What each topic takes on the brokers' disks. Neither Kafka library asks for it, so the messages are made here.

DescribeLogDirs version 1 (https://kafka.apache.org/protocol#The_Messages_DescribeLogDirs): brokers know it from 2.0 on.
It is older than the variable-length encodings of Kafka.
"""

import socket
import struct
from collections import Counter
from typing import Final

from confluent_kafka import KafkaException

from loom_models.errors import DependencyError
from loom_platform.stream.source import admin_client

_API_KEY: Final = 35
_VERSION: Final = 1
_TIMEOUT: Final = 10.0
_ALL_TOPICS: Final = -1


def topic_bytes(bootstrap_servers: str, timeout: float = _TIMEOUT) -> dict[str, int]:
    """Bytes of every topic on all brokers, replicas included; raises DependencyError when one does not answer."""
    try:
        brokers = admin_client(bootstrap_servers).list_topics(timeout=timeout).brokers.values()
    except KafkaException as error:
        raise DependencyError(f"broker: {error.args[0].str()}") from error
    total: Counter[str] = Counter()
    for broker in brokers:
        try:
            total.update(parsed(_asked(str(broker.host), broker.port)))
        except (OSError, struct.error, UnicodeDecodeError) as error:
            raise DependencyError(f"broker {broker.host}:{broker.port} does not tell its sizes: {error}") from error
    return dict(total)


def _asked(host: str, port: int) -> bytes:
    client = b"loom-usage"
    message = struct.pack(f">hhih{len(client)}si", _API_KEY, _VERSION, 1, len(client), client, _ALL_TOPICS)
    with socket.create_connection((host, port), timeout=_TIMEOUT) as connection:
        connection.sendall(struct.pack(">i", len(message)) + message)
        (length,) = struct.unpack(">i", _read(connection, 4))
        return _read(connection, length)


def _read(connection: socket.socket, length: int) -> bytes:
    pieces = bytearray()
    while len(pieces) < length:
        piece = connection.recv(min(65_536, length - len(pieces)))
        if not piece:
            raise OSError("it closed the connection")
        pieces += piece
    return bytes(pieces)


def parsed(answer: bytes) -> dict[str, int]:
    """Bytes by topic of one broker's answer (without its length): int32 id, int32 throttle, then the directories."""
    total: Counter[str] = Counter()
    place = 8

    def take(form: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from(f">{form}", answer, place)
        place += struct.calcsize(f">{form}")
        return int(value)

    def text() -> str:
        nonlocal place
        length = take("h")
        value = answer[place : place + length].decode()
        place += length
        return value

    for _ in range(take("i")):
        error = take("h")
        directory = text()
        if error:
            raise OSError(f"error {error} in {directory}")
        for _ in range(take("i")):
            name = text()
            for _ in range(take("i")):
                take("i")
                total[name] += take("q")
                take("q")
                take("b")
    return dict(total)
