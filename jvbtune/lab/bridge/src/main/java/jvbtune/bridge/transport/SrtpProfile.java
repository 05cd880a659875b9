package jvbtune.bridge.transport;

import java.util.ArrayList;
import java.util.List;
import jvbtune.bridge.BridgeConfig;
import org.bouncycastle.tls.SRTPProtectionProfile;
import org.jitsi.srtp.SrtpPolicy;

/** The SRTP protection profiles that DTLS may choose, with their lengths (RFC 5764 section 4.1.2, RFC 7714). */
public enum SrtpProfile {
    SRTP_AEAD_AES_128_GCM(
            SRTPProtectionProfile.SRTP_AEAD_AES_128_GCM, SrtpPolicy.AESGCM_ENCRYPTION, 12, SrtpPolicy.NULL_AUTHENTICATION, 0, 16),
    SRTP_AES128_CM_HMAC_SHA1_80(
            SRTPProtectionProfile.SRTP_AES128_CM_HMAC_SHA1_80,
            SrtpPolicy.AESCM_ENCRYPTION,
            14,
            SrtpPolicy.HMACSHA1_AUTHENTICATION,
            20,
            10);

    static final int KEY_BYTES = 16;

    final int id;
    final int saltBytes;
    private final int cipher;
    private final int authentication;
    private final int authenticationKeyBytes;
    private final int tagBytes;

    SrtpProfile(int id, int cipher, int saltBytes, int authentication, int authenticationKeyBytes, int tagBytes) {
        this.id = id;
        this.cipher = cipher;
        this.saltBytes = saltBytes;
        this.authentication = authentication;
        this.authenticationKeyBytes = authenticationKeyBytes;
        this.tagBytes = tagBytes;
    }

    /** Bytes that DTLS exports: two keys and two salts. */
    int keyingMaterialBytes() {
        return 2 * (KEY_BYTES + saltBytes);
    }

    SrtpPolicy policy() {
        return new SrtpPolicy(cipher, KEY_BYTES, authentication, authenticationKeyBytes, tagBytes, saltBytes);
    }

    /** {@code jmt.srtp.protection-profiles} in order of preference. */
    static List<SrtpProfile> configured() {
        List<SrtpProfile> profiles = new ArrayList<>();
        for (String name : BridgeConfig.strings("jmt.srtp.protection-profiles")) {
            try {
                profiles.add(valueOf(name));
            } catch (IllegalArgumentException unknown) {
                throw new IllegalArgumentException(
                        "jmt.srtp.protection-profiles: the lab's bridge has no " + name + ", only " + List.of(values()));
            }
        }
        return profiles;
    }

    /** The bridge's first preference that the peer offers; null where there is none. */
    static SrtpProfile choose(int[] offered) {
        for (SrtpProfile profile : configured()) {
            for (int id : offered) {
                if (id == profile.id) {
                    return profile;
                }
            }
        }
        return null;
    }
}
