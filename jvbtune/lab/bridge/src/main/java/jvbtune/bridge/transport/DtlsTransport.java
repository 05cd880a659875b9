package jvbtune.bridge.transport;

import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import jvbtune.bridge.BufferPool;
import jvbtune.bridge.TaskPools;
import org.bouncycastle.tls.DTLSServerProtocol;
import org.bouncycastle.tls.DTLSTransport;
import org.bouncycastle.tls.DatagramTransport;
import org.bouncycastle.tls.TlsTimeoutException;
import org.ice4j.util.Buffer;
import org.jitsi.utils.logging2.Logger;
import org.jitsi.utils.queue.PacketQueue;

/**
 * DTLS of one endpoint, the bridge being the server: handshake on the IO pool, SRTP keys out, then only retransmissions
 * and alerts are answered; application data (SCTP in the real bridge) is discarded.
 */
public final class DtlsTransport {
    /** What can be sent to the peer. */
    @FunctionalInterface
    public interface Sender {
        void send(byte[] buffer, int offset, int length);
    }

    /** Packets that wait for Bouncy Castle to pull them, as in JVB's DtlsStack.kt. */
    private static final int PULL_QUEUE_PACKETS = 50;

    private static final int QUEUE_PACKETS = 128;
    private static final int MTU_BYTES = 1500;

    private final DtlsIdentity identity = DtlsIdentity.current();
    private final Logger logger;
    private final Sender sender;
    private final Consumer<SrtpSession> onConnected;
    private final ArrayBlockingQueue<byte[]> pulled = new ArrayBlockingQueue<>(PULL_QUEUE_PACKETS);
    private final PacketQueue<Buffer> queue;
    private final byte[] applicationData = new byte[MTU_BYTES];

    private Map<String, List<String>> remoteFingerprints = Map.of();
    private boolean peerIsClient;
    private boolean writeable;
    private boolean started;
    private volatile boolean connected;
    private volatile boolean closed;
    private volatile DTLSTransport transport;

    /** @param onConnected called once, on the IO pool, when the handshake is finished */
    public DtlsTransport(String id, Logger logger, Sender sender, Consumer<SrtpSession> onConnected) {
        this.logger = logger;
        this.sender = sender;
        this.onConnected = onConnected;
        this.queue = new PacketQueue<>(QUEUE_PACKETS, false, "dtls-queue-" + id, this::handle, TaskPools.IO) {
            @Override
            protected void releasePacket(Buffer buffer) {
                BufferPool.put(buffer.getBuffer());
            }
        };
    }

    public String fingerprint() {
        return identity.fingerprint;
    }

    public String fingerprintHash() {
        return identity.hash;
    }

    /** What the bridge signals of its own role. */
    public synchronized String setup() {
        return peerIsClient ? "passive" : "actpass";
    }

    public boolean isConnected() {
        return connected;
    }

    /**
     * What was signalled of the peer.
     *
     * @param fingerprints by hash function in lower case
     * @param setup {@code active}; nothing else is supported
     */
    public synchronized void setRemote(Map<String, List<String>> fingerprints, String setup) {
        remoteFingerprints = fingerprints;
        if ("active".equalsIgnoreCase(setup)) {
            peerIsClient = true;
        } else {
            logger.error("The lab's bridge is a DTLS server only: setup \"" + setup + "\" should be \"active\"");
        }
        maybeStart();
    }

    /** ICE found a way to the peer. */
    public synchronized void onWriteable() {
        writeable = true;
        maybeStart();
    }

    private void maybeStart() {
        if (writeable && peerIsClient && !started && !closed) {
            started = true;
            TaskPools.IO.execute(this::handshake);
        }
    }

    private void handshake() {
        Map<String, List<String>> fingerprints;
        synchronized (this) {
            fingerprints = remoteFingerprints;
        }
        DtlsServer server = new DtlsServer(identity, fingerprints, logger);
        try {
            transport = new DTLSServerProtocol().accept(server, new Datagrams());
            connected = true;
            onConnected.accept(server.srtp());
        } catch (IOException | RuntimeException e) {
            if (!closed) {
                logger.error("DTLS handshake failed: " + e);
            }
        }
    }

    /** Takes a datagram that looks like DTLS; the buffer is returned to the pool. */
    public void enqueue(Buffer buffer) {
        queue.add(buffer);
    }

    private boolean handle(Buffer buffer) {
        byte[] datagram = new byte[buffer.getLength()];
        System.arraycopy(buffer.getBuffer(), buffer.getOffset(), datagram, 0, datagram.length);
        BufferPool.put(buffer.getBuffer());
        if (!pulled.offer(datagram)) {
            logger.warn("DTLS queue full, dropping a packet");
        }
        DTLSTransport established = transport;
        if (established != null) {
            try {
                while (established.receive(applicationData, 0, applicationData.length, 1) > 0) {
                    logger.debug("Discarding application data over DTLS: the lab's bridge has no SCTP");
                }
            } catch (TlsTimeoutException nothingMore) {
                return true;
            } catch (IOException e) {
                logger.debug("DTLS after the handshake: " + e);
            }
        }
        return true;
    }

    public void close() {
        closed = true;
        queue.close();
        pulled.clear();
    }

    /** Bouncy Castle pulls its datagrams, ice4j pushes them. */
    private final class Datagrams implements DatagramTransport {
        @Override
        public int getReceiveLimit() {
            return MTU_BYTES - 28;
        }

        @Override
        public int getSendLimit() {
            return MTU_BYTES - 92;
        }

        @Override
        public int receive(byte[] out, int offset, int length, int waitMillis) throws IOException {
            if (closed) {
                throw new IOException("closed");
            }
            try {
                byte[] datagram = pulled.poll(waitMillis, TimeUnit.MILLISECONDS);
                if (datagram == null) {
                    return -1;
                }
                int bytes = Math.min(length, datagram.length);
                System.arraycopy(datagram, 0, out, offset, bytes);
                return bytes;
            } catch (InterruptedException e) {
                return -1;
            }
        }

        @Override
        public void send(byte[] buffer, int offset, int length) {
            sender.send(buffer, offset, length);
        }

        @Override
        public void close() {
            // The endpoint closes what lies below.
        }
    }
}
