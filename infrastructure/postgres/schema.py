"""The tables, as steps from nothing to the newest version. Steps are only ever added.

Every text that comes from outside is `bytea`, in UTF-8: PostgreSQL's text refuses NUL, which
an answer may hold, and no escaping has to be undone by whoever reads the tables
(`convert_from(content, 'UTF8')`). A chat's id belongs to its user: two users may use the same.
"""

STEPS: tuple[str, ...] = (
    """
    CREATE TABLE chats (
        key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        user_id bytea NOT NULL,
        id bytea NOT NULL,
        title bytea,
        created_at timestamptz NOT NULL,
        UNIQUE (user_id, id));
    CREATE INDEX chats_by_age ON chats (user_id, created_at, id);

    -- A turn is a question with its answers: a retried question has several jobs.
    CREATE TABLE messages (
        key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        chat bigint NOT NULL REFERENCES chats ON DELETE CASCADE,
        turn integer NOT NULL,
        id text NOT NULL,
        role text NOT NULL,
        content bytea NOT NULL,
        job_id text NOT NULL,
        status text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        UNIQUE (job_id, role));
    CREATE INDEX messages_of_chat ON messages (chat, turn, key);

    CREATE TABLE turns (
        job_id text PRIMARY KEY,
        chat bigint NOT NULL REFERENCES chats ON DELETE CASCADE,
        turn integer NOT NULL);
    CREATE INDEX turns_of_chat ON turns (chat);

    CREATE TABLE claims (
        user_id bytea NOT NULL,
        key bytea NOT NULL,
        fingerprint text NOT NULL,
        job_id text NOT NULL,
        chat_id bytea NOT NULL,
        path text NOT NULL,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (user_id, key));
    CREATE INDEX claims_by_age ON claims (created_at);
    """,
    """
    -- The attempt that answered last, also when it said nothing: an earlier one is too late.
    ALTER TABLE turns ADD COLUMN attempt integer NOT NULL DEFAULT 1;
    """,
    """
    CREATE TABLE sessions (
        user_id bytea NOT NULL,
        name bytea NOT NULL,
        chat_id bytea NOT NULL,
        PRIMARY KEY (user_id, name));
    CREATE INDEX sessions_of_chat ON sessions (chat_id);
    """,
    """
    ALTER TABLE turns ADD COLUMN ended boolean NOT NULL DEFAULT FALSE;
    UPDATE turns SET ended = TRUE
        WHERE job_id IN (SELECT job_id FROM messages WHERE role = 'assistant');
    """,
    """
    -- Why the job took its path: the fields of a Flag, as JSON.
    ALTER TABLE claims ADD COLUMN flag text;

    CREATE TABLE share_changes (
        number integer PRIMARY KEY,
        at timestamptz NOT NULL,
        by bytea NOT NULL,
        before double precision NOT NULL,
        after double precision,
        why bytea,
        rollout text NOT NULL);
    """,
    """
    -- How each job went, for the rollout: no text, and of the user a keyed hash.
    CREATE TABLE outcomes (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        job_id text NOT NULL UNIQUE,
        arm text NOT NULL,
        path text NOT NULL,
        share double precision NOT NULL,
        reason text NOT NULL,
        source text NOT NULL,
        rollout text NOT NULL,
        left_out text,
        admitted_at timestamptz NOT NULL,
        begun_at timestamptz NOT NULL,
        first_token_at timestamptz,
        answered_at timestamptz,
        ended_at timestamptz NOT NULL,
        status text NOT NULL,
        error text,
        cancelled_by text,
        tokens integer NOT NULL,
        thrown_away integer NOT NULL,
        input_tokens bigint,
        output_tokens bigint,
        attempts integer NOT NULL,
        fell_back boolean NOT NULL,
        spoiled boolean NOT NULL,
        user_hash text NOT NULL,
        first boolean NOT NULL,
        written_at timestamptz NOT NULL DEFAULT clock_timestamp());
    CREATE INDEX outcomes_of_users ON outcomes (rollout, user_hash);
    CREATE INDEX outcomes_of_rollouts ON outcomes (rollout, written_at);
    CREATE INDEX outcomes_by_time ON outcomes (written_at);

    -- What their readers were handed, who may be there before and after the job's end.
    CREATE TABLE deliveries (
        job_id text PRIMARY KEY,
        first_at timestamptz,
        longest_gap double precision,
        seen boolean NOT NULL,
        written_at timestamptz NOT NULL DEFAULT clock_timestamp());
    CREATE INDEX deliveries_by_time ON deliveries (written_at);

    CREATE TABLE outcome_key (
        one integer PRIMARY KEY CHECK (one = 1),
        key bytea NOT NULL);

    -- A share that was changed by a plan, or by the guard that carries it out: as JSON.
    ALTER TABLE share_changes ADD COLUMN plan text;
    ALTER TABLE share_changes ADD COLUMN state text;
    ALTER TABLE share_changes ADD COLUMN verdict text;
    ALTER TABLE share_changes ADD COLUMN since timestamptz;

    -- What the guard saw, the last look of each minute.
    CREATE TABLE guard_looks (
        rollout text NOT NULL,
        minute bigint NOT NULL,
        body text NOT NULL,
        PRIMARY KEY (rollout, minute));
    """,
    """
    -- What jobs have asked people: the pause and the answers as JSON.
    CREATE TABLE pauses (
        key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        job_id text NOT NULL,
        user_id bytea NOT NULL,
        chat_id bytea NOT NULL,
        attempt integer NOT NULL,
        pause bytea NOT NULL,
        answers bytea NOT NULL,
        spent double precision NOT NULL,
        expires_at timestamptz NOT NULL,
        closed boolean NOT NULL DEFAULT FALSE);
    CREATE INDEX pauses_of_job ON pauses (job_id);
    CREATE INDEX pauses_of_chat ON pauses (user_id, chat_id);
    CREATE INDEX closed_pauses ON pauses (expires_at) WHERE closed;
    """,
    """
    -- Where the chat's graph stands, if it keeps a state of its own: a checkpoint of the
    -- thread, left by a job of that turn. And where the runs of a job begin.
    ALTER TABLE chats ADD COLUMN thread text;
    ALTER TABLE chats ADD COLUMN head text;
    ALTER TABLE chats ADD COLUMN head_turn integer NOT NULL DEFAULT 0;
    ALTER TABLE chats ADD COLUMN head_job text;
    ALTER TABLE turns ADD COLUMN began_at text;
    ALTER TABLE turns ADD COLUMN ended_on timestamptz;
    CREATE TABLE deleted_threads (thread text PRIMARY KEY);
    """,
    """
    -- What was asked by a job that is over is forgotten with its log.
    ALTER TABLE pauses ADD COLUMN closed_at timestamptz;
    UPDATE pauses SET closed_at = expires_at WHERE closed;
    DROP INDEX closed_pauses;
    CREATE INDEX closed_pauses ON pauses (closed_at) WHERE closed_at IS NOT NULL;
    """,
    """
    -- Jobs that were run once more on the other path, and compared: JSON, without a text.
    CREATE TABLE shadows (
        job_id text PRIMARY KEY,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        tokens bigint NOT NULL,
        body text NOT NULL);
    CREATE INDEX shadows_by_time ON shadows (at);
    """,
)
