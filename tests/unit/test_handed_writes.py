"""What the chats hand over to be written with a job's log."""

import sqlite3
from contextlib import closing

from sluice.infrastructure.sqlite.joint_writes import JointWrites, run_each


def one(_: sqlite3.Connection) -> None:
    """Of a chat."""


def other(_: sqlite3.Connection) -> None:
    """Of another."""


def test_what_begins_with_a_job_is_taken_once_and_by_its_own_log() -> None:
    joint, committed = JointWrites(), [0]
    joint.with_creation("a", one, lambda: committed.append(1))
    assert joint.take_creation("b").works == ()
    works, tell = joint.take_creation("a")
    tell()
    assert (works, committed) == ([one], [0, 1])
    none, nothing = joint.take_creation("a")
    nothing()
    assert (none, committed) == ((), [0, 1])


def test_what_ends_with_a_job_waits_for_an_end_that_is_expected() -> None:
    joint = JointWrites()
    assert joint.with_end("a", one) is False
    assert joint.take("a") == ()
    joint.expect_end("a")
    assert joint.with_end("a", one) is True
    joint.expect_end("a")  # another attempt begins
    assert joint.with_end("a", other) is True
    assert joint.with_end("b", other) is False
    assert joint.take("a") == [one, other]
    assert joint.take("a") == ()
    assert joint.with_end("a", one) is False


def test_each_is_given_the_transaction() -> None:
    given: list[object] = []
    with closing(sqlite3.connect(":memory:")) as db:
        run_each(db, [given.append, given.append])
        assert given == [db, db]
