package jvbtune.bridge;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ThreadPoolExecutor;
import org.jitsi.utils.concurrent.CustomizableThreadFactory;

/** The executors that all packets pass through; the shape and the thread names of JVB's TaskPools.java. */
public final class TaskPools {
    /** Sends, DTLS handshakes and ICE set-up: may block. */
    public static final ExecutorService IO =
            Executors.newCachedThreadPool(new CustomizableThreadFactory("Global IO pool", false));

    /** SRTP and forwarding: one thread per processor, must not block. */
    public static final ExecutorService CPU =
            Executors.newFixedThreadPool(
                    Runtime.getRuntime().availableProcessors(),
                    new CustomizableThreadFactory("Global CPU pool", false));

    /** Timers: load samples, receiver reports. */
    public static final ScheduledExecutorService SCHEDULED =
            Executors.newSingleThreadScheduledExecutor(new CustomizableThreadFactory("Global scheduled pool", false));

    private TaskPools() {}

    /** The answer of {@code /debug/stats/jvb/task-pool-stats}. */
    public static ObjectNode statsJson() {
        ObjectNode json = JsonNodeFactory.instance.objectNode();
        json.set("IO_POOL", statsJson(IO));
        json.set("CPU_POOL", statsJson(CPU));
        return json;
    }

    private static ObjectNode statsJson(ExecutorService executor) {
        ObjectNode json = JsonNodeFactory.instance.objectNode();
        json.put("executor_class", executor.getClass().getSimpleName());
        if (executor instanceof ThreadPoolExecutor pool) {
            json.put("pool_size", pool.getPoolSize());
            json.put("active_task_count", pool.getActiveCount());
            json.put("completed_task_count", pool.getCompletedTaskCount());
            json.put("core_pool_size", pool.getCorePoolSize());
            json.put("maximum_pool_size", pool.getMaximumPoolSize());
            json.put("largest_pool_size", pool.getLargestPoolSize());
            json.put("queue_class", pool.getQueue().getClass().getSimpleName());
            json.put("pending_task_count", pool.getQueue().size());
        }
        return json;
    }

    /** Stops all three; queued work is dropped. */
    public static void shutdownNow() {
        SCHEDULED.shutdownNow();
        CPU.shutdownNow();
        IO.shutdownNow();
    }
}
