"""Prometheus metrics, on a port of their own that is bound to loopback.

Labels are bounded: classes, kinds, states and routes, never users or ids.
"""

from collections.abc import Callable, Iterator
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from app.bell import CLASSES
from app.db import make_engine, make_sessions
from app.status import repository

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Jobs:
    """Counts read from the database at each scrape; whether the last scrape failed is itself a metric."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions

    def collect(self) -> Iterator[Metric]:
        """Yields queue depth and age by class, and finished jobs by kind and state."""
        up = GaugeMetricFamily("binnacle_database_up", "Whether the counts of jobs could be read")
        try:
            with self._sessions() as session:
                queues, finished = repository.queues(session), repository.finished_by_kind(session)
        except SQLAlchemyError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        depth = GaugeMetricFamily("binnacle_jobs", "Unfinished jobs", labels=["job_class", "state"])
        age = GaugeMetricFamily("binnacle_queue_oldest_seconds", "How long the oldest ready job waits", labels=["job_class"])
        for name in CLASSES:
            own = [queue for queue in queues if queue.job_class == name]
            for state in ("queued", "waiting", "running"):
                depth.add_metric([name, state], sum(getattr(queue, state) for queue in own))
            age.add_metric([name], max((queue.oldest_seconds or 0 for queue in own), default=0))
        yield from (depth, age)
        over = GaugeMetricFamily("binnacle_jobs_finished", "Jobs that have ended", labels=["kind", "state"])
        for kind, state, count in finished:
            over.add_metric([kind, state], count)
        yield over


class Metrics:
    """The metrics of one application, in a registry of their own."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        labels = ["method", "route", "status"]
        self._latency = Histogram("binnacle_request_seconds", "Time to answer", labels, buckets=BUCKETS, registry=self.registry)
        self._info = Gauge("binnacle_info", "The running version", ["version"], registry=self.registry)
        self._info.labels(version).set(1)
        self._errors = Counter(
            "binnacle_server_errors", "Answers with a status of 500 and more", ["route"], registry=self.registry
        )
        self._waiting = Gauge("binnacle_waiting_requests", "Requests and streams that wait for a job", registry=self.registry)
        self._server: WSGIServer | None = None

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts an answered request; `route` is the path's template."""
        self._latency.labels(method if method in METHODS else "other", route, str(status)).observe(seconds)
        if status >= 500:
            self._errors.labels(route).inc()

    def serve(self, port: int, database_url: str, waiting: Callable[[], int]) -> None:
        """Opens the port on 127.0.0.1, and a database connection for its figures; 0 opens none. Raises OSError for a port in use."""
        if not port:
            return
        self._waiting.set_function(waiting)
        self._engine = make_engine(database_url, pool_size=1)
        self.registry.register(Jobs(make_sessions(self._engine)))
        self._server, self._thread = start_http_server(port, addr="127.0.0.1", registry=self.registry)

    def close(self) -> None:
        """Closes the port."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._engine.dispose()
