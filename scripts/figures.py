"""The figures that only the whole house can tell, for `/metrics`."""

from collections.abc import Iterable

from configs.kernel.metrics import Sample
from configs.kernel.tasks import TaskSupervisor
from media.hub import Hub
from media.rtmp.server import RtmpServer
from media.srt.server import SrtServer
from media.stream import Phase
from media.webrtc.service import WebRtcService
from transcoder.supervisor import TranscoderService


def house_samples(
    hub: Hub,
    webrtc: WebRtcService,
    transcoder: TranscoderService,
    rtmp: RtmpServer,
    srt: SrtServer,
    tasks: TaskSupervisor,
) -> Iterable[Sample]:
    for phase in (Phase.LIVE, Phase.GRACE):
        count = sum(stream.phase is phase for stream in hub.streams)
        yield Sample("streams", "Streams by phase.", count, labels={"phase": phase})
    for stream in hub.streams:
        labels = {"room": stream.room}
        yield Sample("ingest_bytes", "Coded bytes taken in.", stream.bytes_in, "counter", labels)
        yield Sample(
            "webrtc_viewers", "Viewers by WebRTC.", webrtc.viewers(stream.room), labels=labels
        )
    yield Sample("rtmp_connections", "Open RTMP connections.", rtmp.connections)
    yield Sample("srt_connections", "Open SRT connections.", srt.connections)
    for kind, held in webrtc.holdings.items():
        yield Sample("webrtc_held", "What is held for viewers.", held, labels={"kind": kind})
    endpoint = webrtc.endpoint_stats
    received = {
        "all": endpoint.received,
        "for_nobody": endpoint.unknown,
        "malformed": endpoint.malformed,
        "crowded": endpoint.crowded,
    }
    for fate, count in received.items():
        yield Sample(
            "webrtc_datagrams", "Datagrams received.", count, "counter", labels={"fate": fate}
        )
    for worker in transcoder.stats:
        labels = {"room": worker.room}
        yield Sample("worker_restarts", "Workers replaced.", worker.restarts, "counter", labels)
        yield Sample(
            "worker_cpu_seconds",
            "Processor time of workers.",
            worker.cpu_seconds,
            "counter",
            labels,
        )
        yield Sample(
            "worker_resident_bytes", "Memory of the worker.", worker.resident_bytes, labels=labels
        )
        yield Sample(
            "worker_unsent_units", "Units a slow worker lost.", worker.unsent, "counter", labels
        )
    yield Sample("task_failures", "Supervised tasks that failed.", tasks.failures, "counter")
