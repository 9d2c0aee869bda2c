"""Chats and runs under their clients' own names: found, named, and stopped, within a user."""

from hashlib import sha256

import pytest

from sluice.application.sessions import Sessions, run_key
from sluice.domain.errors import NotFound
from sluice.domain.events import Cancelled
from tests.use_cases import UseCases, use_cases, waiting


def sessions_of(house: UseCases) -> Sessions:
    return Sessions(house.sessions, house.keys, house.show_chat, house.log, house.queue)


def test_a_run_is_one_within_its_session_and_its_key_none_of_the_native_routes() -> None:
    given = [("s", "run"), ("s", "other"), ("t", "run"), (None, "run"), ("None", "run")]
    keys = [run_key(session, run_id) for session, run_id in given]
    assert len(set(keys)) == len(given)
    # In every version: a run that was begun before an update is found behind it.
    assert keys[0] == "\n" + sha256(b'["s","run"]').hexdigest()


async def test_a_session_is_its_users_chat_once_it_was_used() -> None:
    async with use_cases(waiting()) as house:
        sessions = sessions_of(house)
        with pytest.raises(NotFound, match=r"^s$"):
            await sessions.chat("ann", "s")
        accepted = await house.ask(session="s")
        view = await sessions.chat("ann", "s")
        assert (view.chat.id, view.chat.user) == (accepted.chat_id, "ann")
        assert [message.content for message in view.messages] == ["Why?"]
        for user, session in (("bob", "s"), ("ann", "t")):
            with pytest.raises(NotFound):
                await sessions.chat(user, session)
            with pytest.raises(NotFound):
                await sessions.stop(user, session)


async def test_a_run_is_found_by_the_clients_id_in_its_session_and_by_ours() -> None:
    async with use_cases(waiting()) as house:
        sessions = sessions_of(house)
        accepted = await house.ask(session="s", idempotency_key=run_key("s", "run"))
        found = await sessions.job("ann", "run", "s")
        assert found.id == accepted.job_id
        assert await sessions.job("ann", accepted.job_id) == found
        assert await sessions.job("ann", accepted.job_id, "s") == found
        for user, run_id, session in (
            ("bob", "run", "s"),
            ("bob", accepted.job_id, None),
            ("ann", "run", "t"),
            ("ann", "run", None),
            ("ann", "other", "s"),
        ):
            with pytest.raises(NotFound):
                await sessions.job(user, run_id, session)


async def test_of_several_runs_of_one_id_the_first_is_found_without_its_session() -> None:
    async with use_cases(waiting()) as house:
        sessions = sessions_of(house)
        asked = [
            await house.ask(session=session, idempotency_key=run_key(session, "run"))
            for session in "st"
        ]
        for accepted in (asked[0], asked[0], asked[1]):
            await sessions.name_run("ann", "run", accepted)
        assert (await sessions.job("ann", "run")).id == asked[0].job_id
        assert (await sessions.job("ann", "run", "t")).id == asked[1].job_id
        with pytest.raises(NotFound):
            await sessions.job("bob", "run")


async def test_stopping_a_session_ends_all_its_jobs_and_begins_none_of_them() -> None:
    async with use_cases(waiting()) as house:
        jobs = [(await house.ask(session="s")).job_id for _ in range(3)]
        other = await house.ask(session="t")
        await sessions_of(house).stop("ann", "s")
        for job in jobs:
            assert (await house.read(job))[-1] == Cancelled("user")
        assert await house.unfinished() == [other.job_id]
        assert len(house.pipeline.asked) <= 2
