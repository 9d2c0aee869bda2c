"""The tables, as steps from an empty file to the newest version. Steps are only ever added.

Times are microseconds since 1970, UTC. A chat's id belongs to its user: two users may use the
same one.
"""

APPLICATION_ID = 0x534C4943
"""Marks the file as Sluice's."""

STEPS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE chats (
            key INTEGER PRIMARY KEY,
            user TEXT NOT NULL,
            id TEXT NOT NULL,
            title TEXT,
            created_at INTEGER NOT NULL,
            UNIQUE (user, id))""",
        "CREATE INDEX chats_by_age ON chats (user, created_at, id)",
        # A turn is a question with its answers: a retried question has several jobs.
        """CREATE TABLE messages (
            key INTEGER PRIMARY KEY,
            chat INTEGER NOT NULL REFERENCES chats ON DELETE CASCADE,
            turn INTEGER NOT NULL,
            id TEXT NOT NULL,
            role TEXT NOT NULL,
            content TEXT NOT NULL,
            job_id TEXT NOT NULL,
            status TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            UNIQUE (job_id, role))""",
        "CREATE INDEX messages_of_chat ON messages (chat, turn, key)",
        """CREATE TABLE turns (
            job_id TEXT PRIMARY KEY,
            chat INTEGER NOT NULL REFERENCES chats ON DELETE CASCADE,
            turn INTEGER NOT NULL) WITHOUT ROWID""",
        "CREATE INDEX turns_of_chat ON turns (chat)",
        """CREATE TABLE claims (
            user TEXT NOT NULL,
            key TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            job_id TEXT NOT NULL,
            chat_id TEXT NOT NULL,
            path TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            PRIMARY KEY (user, key)) WITHOUT ROWID""",
        "CREATE INDEX claims_by_age ON claims (created_at)",
        # AUTOINCREMENT: the key of a deleted job never names another one.
        """CREATE TABLE jobs (
            key INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            chat_id TEXT NOT NULL,
            user TEXT NOT NULL,
            path TEXT NOT NULL,
            message TEXT NOT NULL,
            request_id TEXT NOT NULL,
            model TEXT,
            metadata TEXT NOT NULL,
            retry_of TEXT,
            created_at INTEGER NOT NULL,
            attempt INTEGER NOT NULL DEFAULT 0,
            ended_at INTEGER)""",
        "CREATE INDEX jobs_of_chat ON jobs (chat_id)",
        "CREATE INDEX unfinished_jobs ON jobs (key) WHERE ended_at IS NULL",
        "CREATE INDEX finished_jobs ON jobs (ended_at) WHERE ended_at IS NOT NULL",
        # A run of consecutive events of one attempt, as they were committed together.
        """CREATE TABLE batches (
            key INTEGER PRIMARY KEY,
            job INTEGER NOT NULL,
            attempt INTEGER NOT NULL,
            first INTEGER NOT NULL,
            body BLOB NOT NULL)""",
        "CREATE INDEX batches_of_job ON batches (job)",
    ),
    # The attempt that answered last, also when it said nothing: an earlier one is too late.
    ("ALTER TABLE turns ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1",),
    (
        """CREATE TABLE sessions (
            user TEXT NOT NULL,
            name TEXT NOT NULL,
            chat_id TEXT NOT NULL,
            PRIMARY KEY (user, name)) WITHOUT ROWID""",
        "CREATE INDEX sessions_of_chat ON sessions (chat_id)",
    ),
    (
        "ALTER TABLE turns ADD COLUMN ended INTEGER NOT NULL DEFAULT FALSE",
        """UPDATE turns SET ended = TRUE
            WHERE job_id IN (SELECT job_id FROM messages WHERE role = 'assistant')""",
    ),
    # Of a job that is in no chat: what it was asked behind, as JSON.
    ("ALTER TABLE jobs ADD COLUMN history TEXT",),
    (
        # Why it took its path: the fields of a Flag, as JSON.
        "ALTER TABLE jobs ADD COLUMN flag TEXT",
        "ALTER TABLE claims ADD COLUMN flag TEXT",
        """CREATE TABLE share_changes (
            number INTEGER PRIMARY KEY,
            at INTEGER NOT NULL,
            by TEXT NOT NULL,
            before REAL NOT NULL,
            after REAL,
            why TEXT,
            rollout TEXT NOT NULL)""",
    ),
    (
        # How each job went, for the rollout: no text, and of the user a keyed hash.
        """CREATE TABLE outcomes (
            number INTEGER PRIMARY KEY,
            job_id TEXT NOT NULL UNIQUE,
            arm TEXT NOT NULL,
            path TEXT NOT NULL,
            share REAL NOT NULL,
            reason TEXT NOT NULL,
            source TEXT NOT NULL,
            rollout TEXT NOT NULL,
            left_out TEXT,
            admitted_at INTEGER NOT NULL,
            begun_at INTEGER NOT NULL,
            first_token_at INTEGER,
            answered_at INTEGER,
            ended_at INTEGER NOT NULL,
            status TEXT NOT NULL,
            error TEXT,
            cancelled_by TEXT,
            tokens INTEGER NOT NULL,
            thrown_away INTEGER NOT NULL,
            input_tokens INTEGER,
            output_tokens INTEGER,
            attempts INTEGER NOT NULL,
            fell_back INTEGER NOT NULL,
            spoiled INTEGER NOT NULL,
            user_hash TEXT NOT NULL,
            first INTEGER NOT NULL,
            written_at INTEGER NOT NULL)""",
        "CREATE INDEX outcomes_of_users ON outcomes (rollout, user_hash)",
        "CREATE INDEX outcomes_of_rollouts ON outcomes (rollout, written_at)",
        "CREATE INDEX outcomes_by_time ON outcomes (written_at)",
        # What their readers were handed, who may be there before and after the job's end.
        """CREATE TABLE deliveries (
            job_id TEXT PRIMARY KEY,
            first_at INTEGER,
            longest_gap REAL,
            seen INTEGER NOT NULL,
            written_at INTEGER NOT NULL) WITHOUT ROWID""",
        "CREATE INDEX deliveries_by_time ON deliveries (written_at)",
        "CREATE TABLE outcome_key (key BLOB NOT NULL)",
        # A share that was changed by a plan, or by the guard that carries it out: as JSON.
        "ALTER TABLE share_changes ADD COLUMN plan TEXT",
        "ALTER TABLE share_changes ADD COLUMN state TEXT",
        "ALTER TABLE share_changes ADD COLUMN verdict TEXT",
        "ALTER TABLE share_changes ADD COLUMN since INTEGER",
        # What the guard saw, the last look of each minute.
        """CREATE TABLE guard_looks (
            rollout TEXT NOT NULL,
            minute INTEGER NOT NULL,
            body TEXT NOT NULL,
            PRIMARY KEY (rollout, minute)) WITHOUT ROWID""",
    ),
    (
        # Its last attempt has paused, and may go on.
        "ALTER TABLE jobs ADD COLUMN paused INTEGER NOT NULL DEFAULT FALSE",
        # What jobs have asked people: the pause and the answers as JSON.
        """CREATE TABLE pauses (
            key INTEGER PRIMARY KEY,
            job_id TEXT NOT NULL,
            user TEXT NOT NULL,
            chat_id TEXT NOT NULL,
            attempt INTEGER NOT NULL,
            pause TEXT NOT NULL,
            answers TEXT NOT NULL,
            spent REAL NOT NULL,
            expires_at INTEGER NOT NULL,
            closed INTEGER NOT NULL DEFAULT FALSE)""",
        "CREATE INDEX pauses_of_job ON pauses (job_id)",
        "CREATE INDEX pauses_of_chat ON pauses (user, chat_id)",
        "CREATE INDEX closed_pauses ON pauses (expires_at) WHERE closed",
    ),
    (
        # Where the chat's graph stands, if it keeps a state of its own: a checkpoint of the
        # thread, left by a job of that turn. And where the runs of a job begin.
        "ALTER TABLE chats ADD COLUMN thread TEXT",
        "ALTER TABLE chats ADD COLUMN head TEXT",
        "ALTER TABLE chats ADD COLUMN head_turn INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE chats ADD COLUMN head_job TEXT",
        "ALTER TABLE turns ADD COLUMN began_at TEXT",
        "ALTER TABLE turns ADD COLUMN ended_on INTEGER",
        "CREATE TABLE deleted_threads (thread TEXT PRIMARY KEY) WITHOUT ROWID",
    ),
    (
        # What was asked by a job that is over is forgotten with its log.
        "ALTER TABLE pauses ADD COLUMN closed_at INTEGER",
        "UPDATE pauses SET closed_at = expires_at WHERE closed",
        "DROP INDEX closed_pauses",
        "CREATE INDEX closed_pauses ON pauses (closed_at) WHERE closed_at IS NOT NULL",
    ),
    (
        # Jobs that were run once more on the other path, and compared: JSON, without a text.
        """CREATE TABLE shadows (
            job_id TEXT PRIMARY KEY,
            at INTEGER NOT NULL,
            tokens INTEGER NOT NULL,
            body TEXT NOT NULL) WITHOUT ROWID""",
        "CREATE INDEX shadows_by_time ON shadows (at)",
    ),
)
