"""One process that serves, runs jobs and keeps them, in memory or in one SQLite file."""

from dependency_injector.providers import Callable as Call
from dependency_injector.providers import Provider, Selector, Singleton

from sluice.application.chat_ports import ChatPort, HeadPort, IdempotencyPort, SessionPort
from sluice.application.guard import DeciderPort, SoleDecider
from sluice.application.outcomes import OutcomesPort
from sluice.application.pause_port import PausePort
from sluice.application.ports import CheckpointPort, EventLogPort, ReadersPort
from sluice.application.rollout import ShareChangesPort
from sluice.application.shadows import ShadowsPort
from sluice.application.unread import CancelUnread
from sluice.infrastructure.chats.memory import MemoryChats
from sluice.infrastructure.chats.sqlite.chats import SqliteChats
from sluice.infrastructure.chats.sqlite.heads import SqliteHeads
from sluice.infrastructure.chats.sqlite.idempotency import SqliteIdempotency
from sluice.infrastructure.chats.sqlite.pauses import SqlitePauses
from sluice.infrastructure.chats.sqlite.sessions import SqliteSessions
from sluice.infrastructure.composition.base import Base
from sluice.infrastructure.composition.declaring import deployment
from sluice.infrastructure.event_log.memory import MemoryEventLog
from sluice.infrastructure.event_log.sqlite.log import SqliteEventLog
from sluice.infrastructure.flags.sqlite_changes import SqliteShareChanges
from sluice.infrastructure.jobs.inline.queue import InlineJobQueue
from sluice.infrastructure.outcomes.sqlite import SqliteOutcomes
from sluice.infrastructure.outcomes.sqlite_shadows import SqliteShadows
from sluice.infrastructure.pipeline.savers import sqlite_saver
from sluice.infrastructure.pipeline.savers.saver import Saver
from sluice.infrastructure.settings import Settings, SqliteStore
from sluice.infrastructure.sqlite.checkpoints import SqliteCheckpoints
from sluice.infrastructure.sqlite.database import SqliteDatabase
from sluice.infrastructure.sqlite.joint_writes import JointWrites


def database_of(settings: Settings) -> SqliteDatabase:
    """`memory://` keeps what is beside chats and logs in the same engine, without a file."""
    store = settings.store
    return SqliteDatabase(store.path if isinstance(store, SqliteStore) else ":memory:")


def checkpoints_of(settings: Settings) -> SqliteCheckpoints:
    store = settings.store
    return SqliteCheckpoints(store.path if isinstance(store, SqliteStore) else None)


def durable(settings: Settings) -> bool:
    return isinstance(settings.store, SqliteStore)


def joint_of(settings: Settings, joint: JointWrites) -> JointWrites | None:
    """None where the chats and the logs are apart."""
    return joint if durable(settings) and settings.database is None else None


def kind_of_log(settings: Settings) -> str:
    return "sqlite" if durable(settings) else "memory"


@deployment
class Embedded(Base):
    database = Singleton(database_of, Base.settings)
    joint = Call(joint_of, Base.settings, Singleton(JointWrites))
    log: Provider[EventLogPort] = Selector(
        Call(kind_of_log, Base.settings),
        memory=Singleton(MemoryEventLog, retention=Base.settings.provided.retention),
        sqlite=Singleton(
            SqliteEventLog, database, retention=Base.settings.provided.retention, joint=joint
        ),
    )
    chats: Provider[ChatPort] = Selector(
        Call(kind_of_log, Base.settings),
        memory=Singleton(MemoryChats, database),
        sqlite=Singleton(SqliteChats, database, joint),
    )
    sessions: Provider[SessionPort] = Singleton(SqliteSessions, database)
    keys: Provider[IdempotencyPort] = Singleton(SqliteIdempotency, database)
    pauses: Provider[PausePort] = Singleton(
        SqlitePauses, database, retention=Base.settings.provided.retention
    )
    share_changes: Provider[ShareChangesPort] = Singleton(SqliteShareChanges, database)
    heads: Provider[HeadPort] = Singleton(SqliteHeads, database)
    state_file: Provider[SqliteCheckpoints] = Singleton(checkpoints_of, Base.settings)
    checkpoints: Provider[CheckpointPort] = Call(lambda file: file, state_file)
    saver: Provider[Saver | None] = Singleton(sqlite_saver, state_file)
    outcomes: Provider[OutcomesPort] = Singleton(SqliteOutcomes, database)
    shadows: Provider[ShadowsPort] = Singleton(SqliteShadows, database)
    decider: Provider[DeciderPort] = Singleton(SoleDecider)
    queue: Provider[InlineJobQueue] = Singleton(
        InlineJobQueue,
        Base.run,
        Base.bounds,
        when_busy=Base.settings.provided.when_busy,
        durable=Call(durable, Base.settings),
    )
    readers: Provider[ReadersPort] = Singleton(
        CancelUnread, queue, log, after=Base.settings.provided.orphaned_after
    )
