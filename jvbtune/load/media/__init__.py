"""What clients send: sources of RTP packets, seeded and exact in rate."""

from __future__ import annotations

from jvbtune.load.media.opus import AUDIO_LEVEL_ID, OPUS_PAYLOAD_TYPE, OpusSource, Source, sent_ns

__all__ = ["AUDIO_LEVEL_ID", "OPUS_PAYLOAD_TYPE", "OpusSource", "Source", "sent_ns"]
