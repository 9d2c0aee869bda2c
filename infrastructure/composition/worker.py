"""A worker: it runs the jobs that gateways have taken."""

from dependency_injector.providers import Provider, Singleton

from sluice.infrastructure.composition.cluster import Cluster
from sluice.infrastructure.composition.declaring import deployment
from sluice.infrastructure.jobs.redis.worker import JobWorker


@deployment
class Worker(Cluster):
    worker: Provider[JobWorker] = Singleton(
        JobWorker,
        Cluster.scheduler,
        Cluster.log,
        Cluster.run,
        Cluster.bounds,
        unread_s=Cluster.settings.provided.orphaned_after,
    )
