package jvbtune.bridge.stats;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import jvbtune.bridge.BridgeConfig;
import jvbtune.bridge.Relay;
import jvbtune.bridge.Version;

/** The answer of {@code /colibri/stats}: the metrics by their older names (VideobridgeStatisticsShim.kt). */
public final class ColibriStats {
    private static final DateTimeFormatter TIMESTAMP =
            DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm:ss.SSS").withZone(ZoneOffset.UTC);

    private ColibriStats() {}

    public static ObjectNode json() {
        synchronized (MetricsUpdate.LOCK) {
            ObjectNode json = JsonNodeFactory.instance.objectNode();
            putPeriodic(json);
            putTotals(json);
            putState(json);
            return json;
        }
    }

    private static void putPeriodic(ObjectNode json) {
        json.put("incoming_loss", Metrics.INCOMING_LOSS.get());
        json.put("outgoing_loss", Metrics.OUTGOING_LOSS.get());
        json.put("overall_loss", Metrics.LOSS.get());
        json.put("endpoints_with_high_outgoing_loss", Metrics.HIGH_OUTGOING_LOSS.get());
        json.put("tcc_unmatched_feedback", Metrics.UNMATCHED_FEEDBACK.get());
        json.put("local_active_endpoints", Metrics.ACTIVE_ENDPOINTS.get());
        json.put("bit_rate_download", Metrics.INCOMING_BITRATE.get() / 1000);
        json.put("bit_rate_upload", Metrics.OUTGOING_BITRATE.get() / 1000);
        json.put("packet_rate_download", Metrics.INCOMING_PACKET_RATE.get());
        json.put("packet_rate_upload", Metrics.OUTGOING_PACKET_RATE.get());
        json.put("rtt_aggregate", Metrics.AVERAGE_RTT.get());
        json.put("num_eps_oversending", Metrics.OVERSENDING.get());
        json.put("octo_conferences", Metrics.CONFERENCES_WITH_RELAY.get());
        json.put("inactive_conferences", Metrics.CONFERENCES_INACTIVE.get());
        json.put("p2p_conferences", Metrics.CONFERENCES_P2P.get());
        json.put("endpoints", Metrics.CURRENT_ENDPOINTS.get());
        json.put("participants", Metrics.CURRENT_ENDPOINTS.get());
        json.put("receive_only_endpoints", Metrics.ENDPOINTS_RECVONLY.get());
        json.put("inactive_endpoints", Metrics.ENDPOINTS_INACTIVE.get());
        json.put("octo_endpoints", Metrics.ENDPOINTS_RELAYED.get());
        json.put("endpoints_sending_audio", Metrics.ENDPOINTS_SENDING_AUDIO.get());
        json.put("endpoints_sending_video", Metrics.ENDPOINTS_SENDING_VIDEO.get());
        json.put("largest_conference", Metrics.LARGEST_CONFERENCE.get());
        json.put("octo_receive_bitrate", Metrics.RELAY_INCOMING_BITRATE.get());
        json.put("octo_receive_packet_rate", Metrics.RELAY_INCOMING_PACKET_RATE.get());
        json.put("octo_send_bitrate", Metrics.RELAY_OUTGOING_BITRATE.get());
        json.put("octo_send_packet_rate", Metrics.RELAY_OUTGOING_PACKET_RATE.get());
        json.put("endpoints_with_suspended_sources", Metrics.SUSPENDED_SOURCES.get());
    }

    private static void putTotals(ObjectNode json) {
        json.put("total_conferences_created", Metrics.CONFERENCES_CREATED.get());
        json.put("total_conferences_completed", Metrics.CONFERENCES_COMPLETED.get());
        json.put("total_conference_seconds", Metrics.CONFERENCE_SECONDS.get());
        json.put("total_participants", Metrics.ENDPOINTS_CREATED.get());
        putUnmoved(json, "total_visitors", "visitors");
        json.put("num_eps_no_msg_transport_after_delay", Metrics.NO_MESSAGE_TRANSPORT.get());
        json.put("total_relays", Metrics.RELAYS_CREATED.get());
        json.put("num_relays_no_msg_transport_after_delay", Metrics.RELAYS_NO_MESSAGE_TRANSPORT.get());
        json.put("total_keyframes_received", Metrics.KEYFRAMES_RECEIVED.get());
        json.put("total_layering_changes_received", Metrics.LAYERING_CHANGES.get());
        putUnmoved(json, "total_video_stream_milliseconds_received", "video_milliseconds_received");
        json.put("stress_level", Metrics.STRESS.get());
        json.put("conferences", Metrics.CONFERENCES.get());
        putUnmoved(json, "visitors", "current_visitors");
        json.put("local_endpoints", Metrics.LOCAL_ENDPOINTS.get());
        putUnmoved(json, "total_data_channel_messages_received", "data_channel_messages_received");
        putUnmoved(json, "total_data_channel_messages_sent", "data_channel_messages_sent");
        json.put("total_colibri_web_socket_messages_received", Metrics.WEB_SOCKET_RECEIVED.get());
        json.put("total_colibri_web_socket_messages_sent", Metrics.WEB_SOCKET_SENT.get());
        json.put("total_bytes_received", Metrics.BYTES_RECEIVED.get());
        json.put("endpoints_ice_failed", Metrics.ENDPOINTS_ICE_FAILED.get());
        json.put("dtls_failed_endpoints", Metrics.ENDPOINTS_DTLS_FAILED.get());
        json.put("relays_ice_failed", Metrics.RELAYS_ICE_FAILED.get());
        json.put("dtls_failed_relays", Metrics.RELAYS_DTLS_FAILED.get());
        json.put("total_bytes_sent", Metrics.BYTES_SENT.get());
        json.put("total_packets_received", Metrics.PACKETS_RECEIVED.get());
        json.put("total_packets_sent", Metrics.PACKETS_SENT.get());
        json.put("total_bytes_received_octo", Metrics.RELAY_BYTES_RECEIVED.get());
        json.put("total_bytes_sent_octo", Metrics.RELAY_BYTES_SENT.get());
        json.put("total_packets_received_octo", Metrics.RELAY_PACKETS_RECEIVED.get());
        json.put("total_packets_sent_octo", Metrics.RELAY_PACKETS_SENT.get());
        json.put("total_dominant_speaker_changes", Metrics.DOMINANT_SPEAKER_CHANGES.get());
        json.put("preemptive_kfr_sent", Metrics.KEYFRAME_REQUESTS_SENT.get());
        json.put("preemptive_kfr_suppressed", Metrics.KEYFRAME_REQUESTS_SUPPRESSED.get());
        json.put("total_ice_failed", Metrics.ICE_FAILED.get());
        json.put("total_ice_succeeded", Metrics.ICE_SUCCEEDED.get());
        putUnmoved(json, "total_ice_succeeded_relayed", "ice_succeeded_relayed");
    }

    private static void putState(ObjectNode json) {
        json.put(
                "average_participant_stress",
                BridgeConfig.number("videobridge.load-management.average-participant-stress"));
        if (MetricsUpdate.THREADS != null) {
            json.put("threads", MetricsUpdate.THREADS.get());
        }
        json.put("graceful_shutdown", Metrics.GRACEFUL_SHUTDOWN.get());
        json.put("shutting_down", Metrics.SHUTTING_DOWN.get());
        json.put("drain", Metrics.DRAIN_MODE.get());
        json.put("current_timestamp", TIMESTAMP.format(Instant.now()));
        if (Relay.enabled()) {
            json.put("relay_id", BridgeConfig.string("videobridge.relay.relay-id"));
        }
        putUnmoved(json, "muc_clients_configured", "muc_clients_configured");
        putUnmoved(json, "muc_clients_connected", "muc_clients_connected");
        putUnmoved(json, "mucs_configured", "mucs_connected");
        putUnmoved(json, "mucs_joined", "mucs_joined");
        putUnmoved(json, "endpoints_with_spurious_remb", "endpoints_with_spurious_remb");
        json.put("healthy", Metrics.HEALTHY.get());
        putUnmoved(json, "endpoints_disconnected", "endpoints_disconnected");
        putUnmoved(json, "endpoints_reconnected", "endpoints_reconnected");
        json.put("version", Version.VERSION);
    }

    private static void putUnmoved(ObjectNode json, String key, String metric) {
        json.putPOJO(key, Metrics.unmoved(metric));
    }
}
