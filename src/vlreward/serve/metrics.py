"""What the server says of itself to Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TOKENS = tuple(2**n for n in range(6, 18))
_GROUPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """The instruments of one server, with a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._requests = Counter("vlreward_requests", "Requests answered", ["route", "status"], registry=registry)
        self._request_seconds = Histogram(
            "vlreward_request_seconds", "From the request to its answer", ["route"], buckets=_SECONDS, registry=registry
        )
        self._in_flight = Gauge("vlreward_requests_in_flight", "Requests that are being answered", registry=registry)
        self._queue_seconds = Histogram(
            "vlreward_queue_seconds", "Wait of a group until its batch began", buckets=_SECONDS, registry=registry
        )
        self._batch_seconds = Histogram(
            "vlreward_batch_seconds", "Time of a batch", buckets=_SECONDS, registry=registry
        )
        self._batch_groups = Histogram("vlreward_batch_groups", "Groups of a batch", buckets=_GROUPS, registry=registry)
        self._batch_tokens = Histogram(
            "vlreward_batch_tokens", "Tokens computed in a batch", buckets=_TOKENS, registry=registry
        )
        self._counts = {name: Counter(f"vlreward_{name}", about, registry=registry) for name, about in _COUNTED.items()}
        self._shared = Gauge(
            "vlreward_shared_token_ratio", "Share of the conversations' tokens that was not computed", registry=registry
        )
        self._tokens = self._computed = 0

    def request_began(self) -> None:
        """A request has come."""
        self._in_flight.inc()

    def request_ended(self, route: str, status: int, seconds: float) -> None:
        """A request was answered; ``route`` is the pattern of its path, so that their number is bounded."""
        self._in_flight.dec()
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def batch(self, *, groups: int, seconds: float, waits: Sequence[float], counts: Mapping[str, int]) -> None:
        """A batch was scored.

        Args:
            groups: in it.
            seconds: it took.
            waits: seconds that each of them had waited.
            counts: by how much the engine's own counts have grown.
        """
        self._batch_groups.observe(groups)
        self._batch_seconds.observe(seconds)
        for wait in waits:
            self._queue_seconds.observe(wait)
        for name, counter in self._counts.items():
            counter.inc(counts.get(name, 0))
        if "computed_tokens" in counts:
            self._batch_tokens.observe(counts["computed_tokens"])
            self._tokens += counts.get("tokens", 0)
            self._computed += counts["computed_tokens"]
            self._shared.set(1 - self._computed / max(1, self._tokens))

    def watch_queue(self, groups: Callable[[], int], tokens: Callable[[], int]) -> None:
        """Show the length of the queue whenever somebody looks."""
        Gauge("vlreward_queue_groups", "Groups that wait", registry=self.registry).set_function(groups)
        Gauge("vlreward_queue_tokens", "Their estimated tokens", registry=self.registry).set_function(tokens)

    def watch_worker(self, ready: Callable[[], bool], restarts: Callable[[], int]) -> None:
        """Show how the model's process is whenever somebody looks."""
        Gauge("vlreward_worker_ready", "Whether the model is loaded", registry=self.registry).set_function(ready)
        restarted = Gauge("vlreward_worker_restarts", "Times its process was started again", registry=self.registry)
        restarted.set_function(restarts)

    def watch_media(self, size: Callable[[], int], count: Callable[[], int]) -> None:
        """Show what is kept of media that clients have sent."""
        Gauge("vlreward_media_bytes", "Bytes of media kept", registry=self.registry).set_function(size)
        Gauge("vlreward_media_kept", "Media kept", registry=self.registry).set_function(count)


_COUNTED = {
    "conversations": "Conversations scored",
    "tokens": "Tokens of each conversation by itself",
    "computed_tokens": "Tokens that went through the language model",
    "vision_hits": "Pictures whose visual tokens were there already",
    "vision_misses": "Pictures that were encoded",
    "prefix_hits": "Prompts whose states were there already",
    "prefix_misses": "Prompts that were computed",
}
