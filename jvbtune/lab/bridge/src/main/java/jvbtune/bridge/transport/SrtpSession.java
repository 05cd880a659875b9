package jvbtune.bridge.transport;

import java.util.Arrays;
import java.util.Map;
import jvbtune.bridge.BridgeConfig;
import jvbtune.bridge.rtp.Packet;
import jvbtune.bridge.rtp.Rtcp;
import jvbtune.bridge.rtp.Rtp;
import org.jitsi.srtp.SrtcpCryptoContext;
import org.jitsi.srtp.SrtpContextFactory;
import org.jitsi.srtp.SrtpCryptoContext;
import org.jitsi.srtp.SrtpErrorStatus;
import org.jitsi.srtp.SrtpPolicy;
import org.jitsi.srtp.crypto.Aes;
import org.jitsi.utils.LRUCache;
import org.jitsi.utils.logging2.Logger;

/**
 * SRTP and SRTCP of one endpoint, keyed by DTLS, with a context per SSRC and direction (JVB's SrtpTransformers).
 *
 * <p>Each of the four directions is called by one thread at a time; different directions may run at once.
 */
public final class SrtpSession {
    /** Contexts kept per direction, as in JVB (AbstractSrtpTransformer.MAX_SSRCS). */
    private static final int MAX_SSRCS = 1024;

    static {
        String factory = BridgeConfig.stringOrNull("jmt.srtp.factory-class");
        if (factory != null) {
            Aes.setFactoryClassName(factory);
        }
    }

    private final SrtpContextFactory incoming;
    private final SrtpContextFactory outgoing;
    private final Map<Long, SrtpCryptoContext> decrypt = new LRUCache<>(MAX_SSRCS, true);
    private final Map<Long, SrtpCryptoContext> encrypt = new LRUCache<>(MAX_SSRCS, true);
    private final Map<Long, SrtcpCryptoContext> decryptControl = new LRUCache<>(MAX_SSRCS, true);
    private final Map<Long, SrtcpCryptoContext> encryptControl = new LRUCache<>(MAX_SSRCS, true);

    /**
     * @param keyingMaterial what DTLS exported: client key, server key, client salt, server salt (RFC 5764 section 4.2);
     *     the bridge is the DTLS server
     */
    SrtpSession(SrtpProfile profile, byte[] keyingMaterial, Logger logger) {
        int salts = 2 * SrtpProfile.KEY_BYTES;
        byte[] clientKey = Arrays.copyOfRange(keyingMaterial, 0, SrtpProfile.KEY_BYTES);
        byte[] serverKey = Arrays.copyOfRange(keyingMaterial, SrtpProfile.KEY_BYTES, salts);
        byte[] clientSalt = Arrays.copyOfRange(keyingMaterial, salts, salts + profile.saltBytes);
        byte[] serverSalt = Arrays.copyOfRange(keyingMaterial, salts + profile.saltBytes, salts + 2 * profile.saltBytes);
        SrtpPolicy srtp = profile.policy();
        srtp.setSendReplayEnabled(false);
        SrtpPolicy srtcp = profile.policy();
        incoming = new SrtpContextFactory(false, clientKey, clientSalt, srtp, srtcp, logger);
        outgoing = new SrtpContextFactory(true, serverKey, serverSalt, srtp, srtcp, logger);
    }

    /**
     * Authenticates and decrypts an RTP packet in place.
     *
     * @param authenticateOnly for a packet that is about to be discarded: keeps the roll-over counter right
     */
    public boolean decryptRtp(Packet packet, boolean authenticateOnly) throws Exception {
        long ssrc = Rtp.ssrc(packet);
        SrtpCryptoContext context = decrypt.get(ssrc);
        boolean known = context != null;
        if (!known) {
            context = incoming.deriveContext((int) ssrc, 0);
        }
        boolean ok = context.reverseTransformPacket(packet, known && authenticateOnly) == SrtpErrorStatus.OK;
        if (ok && !known) {
            decrypt.put(ssrc, context);
        }
        return ok;
    }

    public boolean encryptRtp(Packet packet) throws Exception {
        long ssrc = Rtp.ssrc(packet);
        SrtpCryptoContext context = encrypt.get(ssrc);
        if (context == null) {
            context = outgoing.deriveContext((int) ssrc, 0);
            encrypt.put(ssrc, context);
        }
        return context.transformPacket(packet) == SrtpErrorStatus.OK;
    }

    public boolean decryptRtcp(Packet packet) throws Exception {
        long ssrc = Rtcp.senderSsrc(packet);
        SrtcpCryptoContext context = decryptControl.get(ssrc);
        boolean known = context != null;
        if (!known) {
            context = incoming.deriveControlContext((int) ssrc);
        }
        boolean ok = context.reverseTransformPacket(packet) == SrtpErrorStatus.OK;
        if (ok && !known) {
            decryptControl.put(ssrc, context);
        }
        return ok;
    }

    public boolean encryptRtcp(Packet packet) throws Exception {
        long ssrc = Rtcp.senderSsrc(packet);
        SrtcpCryptoContext context = encryptControl.get(ssrc);
        if (context == null) {
            context = outgoing.deriveControlContext((int) ssrc);
            encryptControl.put(ssrc, context);
        }
        return context.transformPacket(packet) == SrtpErrorStatus.OK;
    }

    /** Wipes the master keys. Contexts that are in use stay usable until they are collected. */
    public void close() {
        incoming.close();
        outgoing.close();
    }
}
