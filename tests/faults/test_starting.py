"""A service that cannot start says why."""

import re
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from sluice.infrastructure.sqlite.database import SqliteDatabase
from tests.live.process import AS_USERS_DO
from tests.live.service import Service as ForkedService
from tests.live.worker import Worker as ForkedWorker


class Service(ForkedService):
    program = AS_USERS_DO


class Worker(ForkedWorker):
    program = AS_USERS_DO


async def damage(path: Path) -> None:
    """Where the jobs are found that were not over."""
    database = SqliteDatabase(path)
    await database.open()
    await database.aclose()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = db.execute("PRAGMA page_size").fetchone()
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'unfinished_jobs'"
        (page,) = db.execute(query).fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)


@pytest.mark.parametrize(
    "what",
    [
        *("setting", "host", "not our host", "port", "folder", "documents", "keys"),
        *("two of them", "damaged", "option"),
    ],
)
async def test_what_cannot_start_says_so_in_one_line(tmp_path: Path, what: str) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    folder = tmp_path / "folder"
    folder.write_text("no folder")
    settings, named = {
        "setting": ({"SLUICE_MAX_RUNNING": "many"}, "SLUICE_MAX_RUNNING"),
        "host": ({"SLUICE_HOST": "a..b", "SLUICE_ALLOW_ANONYMOUS": "true"}, "SLUICE_HOST"),
        "not our host": (
            {"SLUICE_HOST": "192.0.2.1", "SLUICE_ALLOW_ANONYMOUS": "true"},
            "SLUICE_HOST",
        ),
        "port": ({"SLUICE_PORT": str(taken.getsockname()[1])}, "SLUICE_PORT"),
        "folder": ({"SLUICE_STORE": f"sqlite:///{folder}/sluice.db"}, "SLUICE_STORE"),
        "documents": ({"SLUICE_DOCUMENTS": str(folder)}, "SLUICE_DOCUMENTS"),
        "keys": ({"SLUICE_AUTH": "jwt", "SLUICE_JWT_JWKS": "none.json"}, "SLUICE_JWT_JWKS"),
        "two of them": ({}, "SLUICE_STORE"),
        "damaged": ({}, "SLUICE_STORE"),
        "option": (
            {
                "SLUICE_STORE": "redis://127.0.0.1:1/0?foo=1",
                "SLUICE_DATABASE": "postgresql://sluice@127.0.0.1:1/sluice",
            },
            "SLUICE_STORE",
        ),
    }[what]
    first = Service(tmp_path / "first.log", {"SLUICE_STORE": f"sqlite:///{tmp_path}/one.db"})
    second = Service(
        tmp_path / "second.log", {"SLUICE_STORE": f"sqlite:///{tmp_path}/one.db"} | settings
    )
    try:
        if what == "two of them":
            await first.start()
        if what == "damaged":
            await damage(tmp_path / "one.db")
        begun = time.monotonic()
        with pytest.raises(AssertionError):
            await second.start()
        assert await second.gone() == 2
        print(f"\nrefused to start ({what}) after {time.monotonic() - begun:.2f} s")
    finally:
        taken.close()
        await first.aclose()
        await second.aclose()
    lines = second.log.read_text().splitlines()
    assert len([line for line in lines if line.startswith("sluice: ")]) == len(lines) == 1
    assert re.fullmatch(rf"sluice: {named}: .+", lines[0])


async def test_a_signal_that_comes_before_it_serves_is_obeyed(tmp_path: Path) -> None:
    told_early = "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(30)\n"
    (tmp_path / "told_early.py").write_text(told_early)
    settings = {"PYTHONPATH": str(tmp_path), "SLUICE_PIPELINE": "told_early:factory"}
    service = Service(tmp_path / "service.log", settings | {"SLUICE_STORE": "memory://"})
    with pytest.raises(AssertionError):
        await service.start()
    assert await service.gone() == 0
    assert service.log.read_text() == ""


async def test_one_process_whose_chats_are_elsewhere_is_ready_when_they_are(
    tmp_path: Path,
) -> None:
    chats = "postgresql://sluice@127.0.0.1:1/sluice"
    settings = {"SLUICE_STORE": "memory://", "SLUICE_DATABASE": chats}
    service = Service(tmp_path / "service.log", settings)
    await service.start()
    try:
        answer = await service.client.get(f"{service.url}/readyz")
        assert answer.status_code == 503
        assert answer.json()["detail"] == "PostgreSQL cannot be reached"
    finally:
        await service.aclose()


async def test_a_worker_whose_metrics_have_no_port_says_so_and_ends(tmp_path: Path) -> None:
    """What it has opened by then is closed: neither store need be there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = {
            "SLUICE_METRICS_PORT": str(taken.getsockname()[1]),
            "SLUICE_STORE": "redis://127.0.0.1:1/0",
            "SLUICE_DATABASE": "postgresql://sluice@127.0.0.1:1/sluice",
        }
        worker = Worker(tmp_path / "worker.log", settings)
        with pytest.raises(AssertionError):
            await worker.start()
        assert await worker.gone(within=10) == 2
        await worker.aclose()
    last = worker.log.read_text().splitlines()[-1]
    assert re.fullmatch(r"sluice: SLUICE_METRICS_PORT: .+", last)
