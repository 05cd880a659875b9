package jvbtune.bridge.media;

import java.util.Arrays;
import jvbtune.bridge.BridgeConfig;

/**
 * What was sent under transport-wide sequence numbers, what the receiver says of it, and an estimate of the bandwidth to
 * it. Thread-safe.
 *
 * <p>The estimate is by loss alone: 8 % more a second while less than 2 % are lost, less by half of the loss from 10 % on,
 * between {@code min-bw} and {@code max-bw} (the loss-based half of SendSideBandwidthEstimation.java). The real bridge
 * looks at delays as well, bounds the estimate by what was acknowledged, and probes with padding.
 */
final class SendHistory {
    /** Packets for which feedback is waited; a power of two. */
    private static final int HISTORY = 4096;

    private static final long STEP_NANOS = 1_000_000_000;
    private static final double LOW_LOSS = 0.02;
    private static final double HIGH_LOSS = 0.1;
    private static final double INCREASE = 1.08;
    private static final long INITIAL_BPS = BridgeConfig.bandwidthBps("jmt.bwe.estimator.initial-bw");
    private static final long MIN_BPS = BridgeConfig.bandwidthBps("jmt.bwe.estimator.min-bw");
    private static final long MAX_BPS = BridgeConfig.bandwidthBps("jmt.bwe.estimator.max-bw");

    private enum State {
        NONE,
        SENT,
        LOST,
        RECEIVED
    }

    /** Empty until the first packet: an endpoint that gets audio alone has no use for them. */
    private int[] sequences = {};

    private State[] states = {};
    private int next = 1;
    private long received;
    private long lost;
    private long unmatched;
    private long stepReceived;
    private long stepLost;
    private long stepNanos;
    private long estimateBps = INITIAL_BPS;

    /** The transport-wide sequence number of the next packet. */
    synchronized int nextSequence() {
        if (states.length == 0) {
            sequences = new int[HISTORY];
            states = new State[HISTORY];
            Arrays.fill(states, State.NONE);
        }
        int sequence = next++ & 0xffff;
        sequences[sequence & HISTORY - 1] = sequence;
        states[sequence & HISTORY - 1] = State.SENT;
        return sequence;
    }

    /** One packet of a feedback message. A packet that was first said to be lost may have come after all. */
    synchronized void reported(int sequence, boolean wasReceived) {
        int slot = sequence & HISTORY - 1;
        State state = states.length > 0 && sequences[slot] == sequence ? states[slot] : State.NONE;
        switch (state) {
            case SENT -> {
                states[slot] = wasReceived ? State.RECEIVED : State.LOST;
                count(wasReceived, 1);
            }
            case LOST -> {
                if (wasReceived) {
                    states[slot] = State.RECEIVED;
                    count(false, -1);
                    count(true, 1);
                }
            }
            case NONE -> unmatched += wasReceived ? 1 : 0;
            default -> { }
        }
    }

    private void count(boolean wasReceived, int packets) {
        if (wasReceived) {
            received += packets;
            stepReceived += packets;
        } else {
            lost += packets;
            stepLost += packets;
        }
    }

    /** To be called at the end of a feedback message; gives the estimate. */
    synchronized long estimateBps(long nowNanos) {
        if (stepNanos == 0) {
            stepNanos = nowNanos;
        }
        long all = stepReceived + stepLost;
        if (nowNanos - stepNanos >= STEP_NANOS && all > 0) {
            double loss = Math.max(0, (double) stepLost / all);
            if (loss < LOW_LOSS) {
                estimateBps = (long) (estimateBps * INCREASE);
            } else if (loss > HIGH_LOSS) {
                estimateBps = (long) (estimateBps * (1 - loss / 2));
            }
            estimateBps = Math.max(MIN_BPS, Math.min(MAX_BPS, estimateBps));
            stepNanos = nowNanos;
            stepReceived = 0;
            stepLost = 0;
        }
        return estimateBps;
    }

    /** Packets received and lost, by the receiver's feedback. */
    synchronized long[] receivedAndLost() {
        return new long[] {received, Math.max(0, lost)};
    }

    /** Packets that were reported and are not known (any more). */
    synchronized long unmatched() {
        return unmatched;
    }
}
