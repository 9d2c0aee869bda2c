"""streaq's worker, mended where a job needs more than a task.

streaq carries jobs to workers, and carries them to another one when a lease lapses. Measured
with 7.2, and mended here:

- It exits when Redis cannot be reached for a moment: here each loop goes on.
- It renews leases every 0.9 of their length, also those that another worker has got since, and
  a worker that was frozen completes what another one runs, which nobody runs then: here a lease
  is renewed early, only while it is held, and whoever lost it is told, and stops. To complete a
  delivery, and to see that it is one's own, is one step in Redis.
- It takes twice as many tasks as it runs: here exactly as many, the rest is free for others.
- Its abort of a task that waits runs nothing, and what it hands back waits for a lease: cancel
  and hand-over are the places', not streaq's. So nothing is polled for aborts or schedules.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from anyio import CancelScope, CapacityLimiter
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from coredis.exceptions import ConnectionError as Disconnected
from coredis.exceptions import RedisError
from coredis.retry import ConstantRetryPolicy
from streaq import Worker
from streaq.constants import REDIS_GROUP
from streaq.types import StreamMessage, Streaq

from sluice.application.tracebacks import format_traceback
from sluice.infrastructure.jobs.redis.places import Given

logger = logging.getLogger(__name__)

LEASE = 6
"""Seconds. A dead worker's job is found after at most two of them; a node that blocks the loop
for five seconds loses nothing, since a lease is renewed twice a second."""
_BEAT = 0.5
_PAUSE = 0.5
"""Seconds between two tries while Redis is down."""
_QUEUE = "{jobs}"
"""On the places' node: to take a place, and to see whose the delivery is, is one step."""
_TASK = "run"
_OUTAGES = (RedisError, OSError)

_FINISH = """
-- stream, tries, task, running; group, consumer, message, task id: only if it is this consumer's,
-- but for the tries, which streaq counts before it looks whose it is
redis.call('DEL', KEYS[2])
local whose = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1, ARGV[2])
if #whose == 0 then return end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
redis.call('XDEL', KEYS[1], ARGV[3])
redis.call('DEL', KEYS[3])
redis.call('SREM', KEYS[4], ARGV[4])
"""


class Lease:
    """What makes a delivery this worker's, until `lost` says that it is another one's.

    `delivery` is its stream, group, consumer and id; `beginning` bounds the time until its run
    begins.
    """

    def __init__(
        self,
        renew: Callable[[], Awaitable[None]],
        beginning: asyncio.Timeout,
        delivery: Sequence[str] = (),
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.beginning, self.delivery = beginning, delivery
        self._renew, self._asked = renew, self._loop.time()
        self.lost = asyncio.Event()

    async def held(self) -> bool:
        """Whoever was frozen knows old things only: then Redis is asked again, until it answers."""
        while self._loop.time() - self._asked > LEASE / 2 and not self.lost.is_set():
            await self._renew()
        return not self.lost.is_set()

    def answered(self, asked: float, *, held: bool) -> None:
        self._asked = asked
        if not held:
            self.lost.set()


Deliver = Callable[[Given, Lease], Awaitable[None]]
"""Runs a job until its end, or until its lease is lost."""


def _dumped(data: Any) -> bytes:
    return json.dumps(data, default=repr).encode()


class Deliveries(Worker[None]):
    """`slots` is how many deliveries are accepted at once."""

    def __init__(self, url: str, slots: int, run: Deliver) -> None:
        retries = ConstantRetryPolicy((Disconnected,), retries=3, delay=0.1)
        super().__init__(
            redis_url=url,
            redis_kwargs={"retry_policy": retries},
            concurrency=slots,
            queue_name=_QUEUE,
            serializer=_dumped,
            deserializer=json.loads,
            idle_timeout=LEASE,
        )
        self.prefetch = slots
        self._run = run
        self._held: dict[StreamMessage, Lease] = {}
        self.task(name=_TASK, max_tries=None, ttl=0, silent=True)(self._deliver)

    @property
    def accepts(self) -> bool:
        return self._running

    async def put(self, given: Given) -> None:
        """Into the queue, once: the same round again changes nothing. Raises OSError."""
        task = self.enqueue_unsafe(_TASK, *given)
        task.id = f"{given.job}-{given.round}"
        try:
            await task
        except RedisError as error:
            raise OSError("the queue cannot be reached") from error

    async def _deliver(self, job: str, number: int) -> None:
        task_id = f"{job}-{number}"
        lease = next(lease for message, lease in self._held.items() if message.task_id == task_id)
        lease.beginning.reschedule(None)
        await self._run(Given(job, number), lease)

    async def run_task(self, msg: StreamMessage) -> None:
        if msg in self._held:
            return  # its lease had lapsed, and this worker itself was the one to claim it
        try:
            # What hangs before it begins would be renewed, and run by nobody.
            async with asyncio.timeout(LEASE) as beginning:
                stream = self.stream_key + msg.priority
                delivery = (stream, REDIS_GROUP, self.id, msg.message_id)
                self._held[msg] = Lease(self._renew, beginning, delivery)
                await super().run_task(msg)
        except _OUTAGES as error:
            logger.warning("a delivery is left to be repeated: %s", format_traceback(error))
        finally:
            del self._held[msg]

    async def finish_task(self, msg: StreamMessage, *given: Any, **named: Any) -> None:
        stream, task = self.stream_key + msg.priority, msg.task_id
        keys = [stream, self._retry_key + task, self.task_key + task, self._running_set]
        await self.redis.eval(_FINISH, keys, [REDIS_GROUP, self.id, msg.message_id, task])

    async def finish_failed_task(self, msg: StreamMessage, *given: Any, **named: Any) -> None:
        """A worker that wakes up finds that what it was to take is over: no result is kept."""
        await self.finish_task(msg)

    async def renew_idle_timeouts(self, scope: CancelScope) -> None:
        with scope:
            while True:
                await self._renew()
                await asyncio.sleep(_BEAT)

    async def _renew(self) -> None:
        held, asked = list(self._held.items()), asyncio.get_running_loop().time()
        try:
            answers = await self._ask([message for message, _ in held])
        except _OUTAGES as error:
            logger.warning("leases cannot be renewed: %s", format_traceback(error))
            await asyncio.sleep(_PAUSE)
            return
        for (_, lease), still in zip(held, answers, strict=True):
            lease.answered(asked, held=still)

    async def _ask(self, messages: Sequence[StreamMessage]) -> list[bool]:
        """Renews those that are this worker's still."""
        if not messages:
            return []
        async with self.redis.pipeline(transaction=False) as pipe:
            renewed = [
                Streaq(pipe).refresh_timeout(
                    self.stream_key + message.priority,
                    self._running_set,
                    REDIS_GROUP,
                    self.id,
                    message.message_id,
                    message.task_id,
                )
                for message in messages
            ]
        return [await still for still in renewed]

    async def producer(
        self,
        queue: MemoryObjectSendStream[StreamMessage],
        limiter: CapacityLimiter,
        scope: CancelScope,
    ) -> None:
        with queue:
            while True:
                try:
                    await super().producer(queue.clone(), limiter, scope)
                except _OUTAGES as error:
                    logger.warning("the queue cannot be read: %s", format_traceback(error))
                    await asyncio.sleep(_PAUSE)
                    await self._prepare()

    async def _prepare(self) -> None:
        """A Redis that was started again knows neither streaq's functions nor its group."""
        # One that is initialized again forgets its functions first, and Redis may still be away.
        fresh = Streaq(self._redis, code=self._lib.code)
        with suppress(*_OUTAGES):
            self._lib = await fresh.initialize(replace=True)
            await self._lib.create_groups(self.stream_key, REDIS_GROUP, *self.priorities)

    async def run_consumers(
        self, receive: MemoryObjectReceiveStream[StreamMessage], *given: Any, **named: Any
    ) -> None:
        with receive:  # it would stay open
            await super().run_consumers(receive, *given, **named)

    async def schedule_delayed_tasks(self) -> None:
        return

    async def signal_handler(self, scope: CancelScope) -> None:
        return
