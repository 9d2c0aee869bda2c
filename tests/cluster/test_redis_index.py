"""What the Redis log keeps beside the logs: the jobs of each chat, and no longer than it has to."""

from dataclasses import replace
from typing import Any

import pytest
from redis import Redis

from sluice.domain.errors import Unavailable
from sluice.infrastructure.event_log.redis.log import RedisEventLog
from sluice.infrastructure.event_log.redis.scripts import CREATE
from sluice.infrastructure.redis.client import RedisClient
from tests.cluster.redis_logs import DONE, FIRST, begun
from tests.doubles import a_job
from tests.services import RedisServer
from tests.waiting import until


async def test_indexes_forget_a_job_with_its_log(own_redis: RedisServer) -> None:
    server = RedisClient.at(own_redis.url)
    log = RedisEventLog(server, retention=0.01)
    with Redis.from_url(own_redis.url) as admin:
        admin.flushall()
        for _ in range(2):
            job, notifier = await begun(log)
            await log.create(replace(job, message="again"), FIRST)
            await notifier.end(DONE)
        await until(lambda: not [key for key in admin.scan_iter() if b"wake" not in key])
    await log.aclose()
    await server.aclose()


async def test_a_job_that_was_named_and_never_opened_is_forgotten_in_the_end(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a gateway leaves that loses its Redis, or its life, between the two."""
    server, job = RedisClient.at(own_redis.url), a_job()
    log = RedisEventLog(server)
    with Redis.from_url(own_redis.url) as admin:
        admin.flushall()
        run = server.run

        async def only_names(script: str, *arguments: Any) -> Any:
            if script == CREATE:
                raise Unavailable("Redis is gone")
            return await run(script, *arguments)

        monkeypatch.setattr(server, "run", only_names)
        with pytest.raises(Unavailable):
            await log.create(job, FIRST)
        assert await log.unfinished(job.chat_id) == []
        assert admin.keys()
        assert all(admin.ttl(key) > 0 for key in admin.scan_iter())
    await log.aclose()
    await server.aclose()
