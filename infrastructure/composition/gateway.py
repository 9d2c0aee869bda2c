"""A gateway: it serves any job, and leaves running them to the workers."""

from dependency_injector.providers import Callable as Call
from dependency_injector.providers import Provider, Selector, Singleton

from sluice.application.ports import ReadersPort, Record
from sluice.application.unread import CancelUnread
from sluice.infrastructure.composition.cluster import Cluster
from sluice.infrastructure.composition.declaring import deployment
from sluice.infrastructure.flags.redis_news import RedisShareNews
from sluice.infrastructure.jobs.redis.queue import RedisJobQueue
from sluice.infrastructure.jobs.redis.readers import RedisReaders
from sluice.infrastructure.settings import Settings


def what_nobody_reads(settings: Settings) -> str:
    return "runs_on" if settings.orphaned_after is None else "is_cancelled"


@deployment
class Gateway(Cluster):
    queue: Provider[RedisJobQueue] = Singleton(
        RedisJobQueue,
        Cluster.scheduler,
        Cluster.bounds,
        when_busy=Cluster.settings.provided.when_busy,
    )
    share_news = Singleton(RedisShareNews, Cluster.redis)
    announce: Provider[Record] = share_news.provided.announce
    redis_readers: Provider[RedisReaders] = Singleton(RedisReaders, Cluster.scheduler)
    """Tells the workers what is read here: they cancel what is read nowhere."""
    readers: Provider[ReadersPort] = Selector(
        Call(what_nobody_reads, Cluster.settings),
        runs_on=Singleton(CancelUnread, queue, Cluster.log),
        is_cancelled=redis_readers,
    )
