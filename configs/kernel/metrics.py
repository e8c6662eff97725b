"""Figures for Prometheus, read from the parts of the house at the moment of the scrape.

A part keeps plain integers and lists them as `Sample`s; nothing on a hot path touches a registry.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure now. `name` without prefix; counters rise only; labels are few and bounded."""

    name: str
    help: str
    value: float
    kind: Literal["gauge", "counter"] = "gauge"
    labels: Mapping[str, str] = field(default_factory=dict)


Source = Callable[[], Iterable[Sample]]


class Metrics(Collector):
    """All sources of the process, as one page of Prometheus' text format."""

    def __init__(self) -> None:
        self._sources: list[Source] = []
        self._registry = CollectorRegistry()
        self._registry.register(self)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def add(self, source: Source) -> None:
        self._sources.append(source)

    def render(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for source in self._sources:
            for sample in source():
                name = f"vitrine_{sample.name}"
                family = families.get(name)
                if family is None:
                    make = GaugeMetricFamily if sample.kind == "gauge" else CounterMetricFamily
                    family = make(name, sample.help, labels=list(sample.labels))
                    families[name] = family
                assert isinstance(family, (GaugeMetricFamily, CounterMetricFamily))
                family.add_metric(list(sample.labels.values()), sample.value)
        return families.values()
