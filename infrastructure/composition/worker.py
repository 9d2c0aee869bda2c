"""A worker: it runs the jobs that gateways have taken."""

from dependency_injector.providers import Callable as Call
from dependency_injector.providers import Provider, Singleton

from sluice.infrastructure.composition.cluster import Cluster, url_of
from sluice.infrastructure.composition.declaring import deployment
from sluice.infrastructure.jobs.redis.worker import JobWorker


@deployment
class Worker(Cluster):
    worker: Provider[JobWorker] = Singleton(
        JobWorker,
        Call(url_of, Cluster.settings),
        Cluster.places,
        Cluster.log,
        Cluster.run,
        Cluster.bounds,
        orphaned_after=Cluster.settings.provided.orphaned_after,
    )
