package jvbtune.bridge.stats;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import jvbtune.bridge.BridgeConfig;
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
        json.put("outgoing_loss", 0.0);
        json.put("overall_loss", Metrics.LOSS.get());
        putUnmoved(json, "endpoints_with_high_outgoing_loss", "endpoints_with_high_outgoing_loss");
        putUnmoved(json, "tcc_unmatched_feedback", "tcc_unmatched_feedback");
        json.put("local_active_endpoints", Metrics.ACTIVE_ENDPOINTS.get());
        json.put("bit_rate_download", Metrics.INCOMING_BITRATE.get() / 1000);
        json.put("bit_rate_upload", Metrics.OUTGOING_BITRATE.get() / 1000);
        json.put("packet_rate_download", Metrics.INCOMING_PACKET_RATE.get());
        json.put("packet_rate_upload", Metrics.OUTGOING_PACKET_RATE.get());
        json.put("rtt_aggregate", 0.0);
        putUnmoved(json, "num_eps_oversending", "endpoints_oversending");
        putUnmoved(json, "octo_conferences", "conferences_with_relay");
        json.put("inactive_conferences", Metrics.CONFERENCES_INACTIVE.get());
        json.put("p2p_conferences", Metrics.CONFERENCES_P2P.get());
        json.put("endpoints", Metrics.CURRENT_ENDPOINTS.get());
        json.put("participants", Metrics.CURRENT_ENDPOINTS.get());
        json.put("receive_only_endpoints", Metrics.ENDPOINTS_RECVONLY.get());
        json.put("inactive_endpoints", Metrics.ENDPOINTS_INACTIVE.get());
        putUnmoved(json, "octo_endpoints", "endpoints_relayed");
        json.put("endpoints_sending_audio", Metrics.ENDPOINTS_SENDING_AUDIO.get());
        json.put("endpoints_sending_video", Metrics.ENDPOINTS_SENDING_VIDEO.get());
        json.put("largest_conference", Metrics.LARGEST_CONFERENCE.get());
        putUnmoved(json, "octo_receive_bitrate", "relay_incoming_bitrate");
        putUnmoved(json, "octo_receive_packet_rate", "relay_incoming_packet_rate");
        putUnmoved(json, "octo_send_bitrate", "relay_outgoing_bitrate");
        putUnmoved(json, "octo_send_packet_rate", "relay_outgoing_packet_rate");
        putUnmoved(json, "endpoints_with_suspended_sources", "endpoints_with_suspended_sources");
    }

    private static void putTotals(ObjectNode json) {
        json.put("total_conferences_created", Metrics.CONFERENCES_CREATED.get());
        json.put("total_conferences_completed", Metrics.CONFERENCES_COMPLETED.get());
        json.put("total_conference_seconds", Metrics.CONFERENCE_SECONDS.get());
        json.put("total_participants", Metrics.ENDPOINTS_CREATED.get());
        putUnmoved(json, "total_visitors", "visitors");
        putUnmoved(json, "num_eps_no_msg_transport_after_delay", "endpoints_no_message_transport_after_delay");
        putUnmoved(json, "total_relays", "relays");
        putUnmoved(json, "num_relays_no_msg_transport_after_delay", "relays_no_message_transport_after_delay");
        putUnmoved(json, "total_keyframes_received", "keyframes_received");
        putUnmoved(json, "total_layering_changes_received", "layering_changes_received");
        putUnmoved(json, "total_video_stream_milliseconds_received", "video_milliseconds_received");
        json.put("stress_level", Metrics.STRESS.get());
        json.put("conferences", Metrics.CONFERENCES.get());
        putUnmoved(json, "visitors", "current_visitors");
        json.put("local_endpoints", Metrics.LOCAL_ENDPOINTS.get());
        putUnmoved(json, "total_data_channel_messages_received", "data_channel_messages_received");
        putUnmoved(json, "total_data_channel_messages_sent", "data_channel_messages_sent");
        putUnmoved(json, "total_colibri_web_socket_messages_received", "colibri_web_socket_messages_received");
        putUnmoved(json, "total_colibri_web_socket_messages_sent", "colibri_web_socket_messages_sent");
        json.put("total_bytes_received", Metrics.BYTES_RECEIVED.get());
        json.put("endpoints_ice_failed", Metrics.ENDPOINTS_ICE_FAILED.get());
        json.put("dtls_failed_endpoints", Metrics.ENDPOINTS_DTLS_FAILED.get());
        putUnmoved(json, "relays_ice_failed", "relays_ice_failed");
        putUnmoved(json, "dtls_failed_relays", "relays_dtls_failed");
        json.put("total_bytes_sent", Metrics.BYTES_SENT.get());
        json.put("total_packets_received", Metrics.PACKETS_RECEIVED.get());
        json.put("total_packets_sent", Metrics.PACKETS_SENT.get());
        putUnmoved(json, "total_bytes_received_octo", "relay_bytes_received");
        putUnmoved(json, "total_bytes_sent_octo", "relay_bytes_sent");
        putUnmoved(json, "total_packets_received_octo", "relay_packets_received");
        putUnmoved(json, "total_packets_sent_octo", "relay_packets_sent");
        json.put("total_dominant_speaker_changes", Metrics.DOMINANT_SPEAKER_CHANGES.get());
        putUnmoved(json, "preemptive_kfr_sent", "preemptive_keyframe_requests_sent");
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
