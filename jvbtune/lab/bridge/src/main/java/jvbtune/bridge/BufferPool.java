package jvbtune.bridge;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.LongAdder;

/**
 * Packet buffers used again and again, in partitions so that threads seldom meet; after JVB's PartitionedByteBufferPool.
 *
 * <p>A buffer that nobody returns is collected as garbage; none may be returned twice.
 */
public final class BufferPool {
    /** Fits an Ethernet frame's payload with room for what SRTP and SRTCP append. */
    private static final int BUFFER_BYTES = 1500;

    private static final int PARTITIONS = 8;
    private static final int PARTITION_BUFFERS = 1024;
    private static final LongAdder LARGE_REQUESTS = new LongAdder();

    @SuppressWarnings({"unchecked", "rawtypes"})
    private static final ArrayBlockingQueue<byte[]>[] POOL = new ArrayBlockingQueue[PARTITIONS];

    static {
        for (int i = 0; i < PARTITIONS; i++) {
            POOL[i] = new ArrayBlockingQueue<>(PARTITION_BUFFERS);
        }
    }

    private BufferPool() {}

    /** A buffer of at least {@code bytes}; its content is undefined. */
    public static byte[] get(int bytes) {
        if (bytes > BUFFER_BYTES) {
            LARGE_REQUESTS.increment();
            return new byte[bytes];
        }
        byte[] buffer = partition().poll();
        return buffer != null ? buffer : new byte[BUFFER_BYTES];
    }

    public static void put(byte[] buffer) {
        if (buffer.length == BUFFER_BYTES) {
            partition().offer(buffer);
        }
    }

    private static ArrayBlockingQueue<byte[]> partition() {
        return POOL[ThreadLocalRandom.current().nextInt(PARTITIONS)];
    }

    /** The answer of {@code /debug/stats/jvb/pool-stats}. */
    public static ObjectNode statsJson() {
        return JsonNodeFactory.instance.objectNode().put("num_large_requests", LARGE_REQUESTS.sum());
    }
}
