"""The quantities that the dashboards draw, under the names that they have in Prometheus and in InfluxDB.

In Prometheus most have two names: the bridge's own, if its /metrics is scraped, and that of ``jvbtune observe``. A
query takes what is there. In InfluxDB there is one: telegraf's field of /colibri/stats, which ``observe`` writes too.
"""

from __future__ import annotations

from jvbtune.export.grafana.model import Metric, Quantity
from jvbtune.observe import columns

BRIDGE_PREFIX = "jitsi_jvb_"


def _observed(name: str, *, field_factor: float = 1.0, rule: str = "", figure: str = "") -> Quantity:
    """A quantity of ``columns``. ``field_factor``: from the field's unit to the one that is drawn. ``rule``,
    ``figure``: recorded by a rule, with the labels of a host, or for a host or machine type."""
    column = columns.BY_NAME[name]
    metrics = [Metric(column.metric, field_factor / column.scale)]
    if column.metrics_key:
        metrics.insert(0, Metric(BRIDGE_PREFIX + column.metrics_key, column.metrics_scale * field_factor))
    if rule:
        metrics.append(Metric(rule))
    if figure:
        metrics.append(Metric(figure, figure=True))
    return Quantity(tuple(metrics), name, column.kind == "counter", field_factor)


def _bridge(metric: str, field: str | None, *, counter: bool = False) -> Quantity:
    """What the bridge reports and ``observe`` does not: of its /metrics and, by telegraf, of /colibri/stats."""
    return Quantity((Metric(BRIDGE_PREFIX + metric),), field, counter)


STRESS = _observed("stress_level")
HEALTHY = _observed("healthy")
DRAIN = _observed("drain")
BITS_PER_KILOBIT = 1000
PACKETS_IN = _observed("packet_rate_download")
PACKETS_OUT = _observed("packet_rate_upload")
RELAY_PACKETS_IN = _observed("octo_receive_packet_rate")
RELAY_PACKETS_OUT = _observed("octo_send_packet_rate")
#: What the bridge divides by its load threshold: relays included.
PACKETS = (PACKETS_IN, PACKETS_OUT, RELAY_PACKETS_IN, RELAY_PACKETS_OUT)
#: /colibri/stats has the bit rates of endpoints in kbit/s, but those of relays in bit/s (VideobridgeStatisticsShim.kt).
BITS_IN = _observed("bit_rate_download", field_factor=BITS_PER_KILOBIT)
BITS_OUT = _observed("bit_rate_upload", field_factor=BITS_PER_KILOBIT)
RELAY_BITS_IN = _observed("octo_receive_bitrate")
RELAY_BITS_OUT = _observed("octo_send_bitrate")
LOSS_IN = _observed("incoming_loss")
LOSS_OUT = _observed("outgoing_loss")
ROUND_TRIP_MS = _observed("rtt_aggregate")
CONFERENCES = _observed("conferences")
LARGEST_CONFERENCE = _observed("largest_conference")
PARTICIPANTS = _observed("local_endpoints")
SENDING_AUDIO = _observed("endpoints_sending_audio")
SENDING_VIDEO = _observed("endpoints_sending_video")
RELAYED_ENDPOINTS = _observed("octo_endpoints")
RELAYED_CONFERENCES = _observed("octo_conferences")

RECEIVE_ONLY = _bridge("endpoints_recvonly", "receive_only_endpoints")
HIGH_LOSS = _bridge("endpoints_with_high_outgoing_loss", "endpoints_with_high_outgoing_loss")
OVERSENDING = _bridge("endpoints_oversending", "num_eps_oversending")
SUSPENDED = _bridge("endpoints_with_suspended_sources", "endpoints_with_suspended_sources")
JOINED = _bridge("endpoints_total", "total_participants", counter=True)
ICE_FAILED = _bridge("ice_failed_total", "total_ice_failed", counter=True)
ICE_SUCCEEDED = _bridge("ice_succeeded_total", "total_ice_succeeded", counter=True)
DTLS_FAILED = _bridge("endpoints_dtls_failed_total", "dtls_failed_endpoints", counter=True)
HEAP_USED = _bridge("jvm_heap_used", None)
HEAP_COMMITTED = _bridge("jvm_heap_committed", None)
OPEN_FILES = _bridge("jvm_open_fd_count", None)

PACKET_RATE = _observed("packet_rate", rule=columns.RULE_PACKET_RATE)
MAX_PACKET_RATE = _observed("max_packet_rate", figure=columns.RULE_MAX_PACKET_RATE)
MAX_PACKET_RATE_LOW = _observed("max_packet_rate_low", figure=columns.RULE_MAX_PACKET_RATE_LOW)
MAX_PACKET_RATE_HIGH = _observed("max_packet_rate_high", figure=columns.RULE_MAX_PACKET_RATE_HIGH)
CAPACITY_USED = _observed("capacity_used", rule=columns.RULE_CAPACITY_USED)
LOAD_THRESHOLD = _observed("load_threshold", figure=columns.RULE_LOAD_THRESHOLD)
CONFIGURED_THRESHOLD = _observed("load_threshold_configured")
BRIDGE_CORES = _observed("process_cpu_cores")
BRIDGE_BUSY = _observed("bridge_cpu_busy")
RECEIVE_THREAD_BUSY = _observed("receive_thread_busy")
RECEIVE_THREAD = _observed("receive_thread_cpu_s")
COMPILERS = _observed("compiler_cpu_s")
COLLECTORS = _observed("collector_cpu_s")
SOFTIRQ = _observed("softirq_s")
HOST_BUSY = _observed("host_busy_s")
HOST_CPUS = _observed("host_cpus")
STEAL = _observed("steal_share")
THROTTLED = _observed("throttled_s")
SOCKET_DROPS = _observed("socket_drops")
SOCKET_QUEUE = _observed("socket_receive_queue_bytes")
SOCKET_BUFFER = _observed("socket_receive_buffer_bytes")
RCVBUF_ERRORS = _observed("udp_rcvbuf_errors")
SNDBUF_ERRORS = _observed("udp_sndbuf_errors")
MEMORY_ERRORS = _observed("udp_mem_errors")
SOFTNET_DROPPED = _observed("softnet_dropped")
SOFTNET_SQUEEZED = _observed("softnet_time_squeeze")
SOFTNET_BACKLOG = _observed("softnet_backlog")
QUEUE_DROPPED = _observed("queue_dropped_packets")
TRANSIT_MEAN_MS = _observed("transit_mean_ms")
TRANSIT_SLOW = _observed("transit_slow_share")
GC_SHARE = _observed("gc_pause_share")
GC_COLLECTIONS = _observed("gc_collections")
SAFEPOINTS = _observed("safepoint_s")
RESIDENT = _observed("resident_memory_bytes")
THREADS = _observed("process_threads")
NIC_PACKETS_IN = _observed("rx_packets")
NIC_PACKETS_OUT = _observed("tx_packets")
NIC_BYTES_IN = _observed("rx_bytes")
NIC_BYTES_OUT = _observed("tx_bytes")
NIC_DROPPED_IN = _observed("rx_dropped")
NIC_MISSED_IN = _observed("rx_missed")
NIC_DROPPED_OUT = _observed("tx_dropped")
