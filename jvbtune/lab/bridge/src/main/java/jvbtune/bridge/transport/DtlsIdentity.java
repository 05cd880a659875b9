package jvbtune.bridge.transport;

import java.io.IOException;
import java.math.BigInteger;
import java.security.GeneralSecurityException;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.security.SecureRandom;
import java.security.spec.ECGenParameterSpec;
import java.time.Duration;
import java.time.Instant;
import java.util.Date;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.StringJoiner;
import jvbtune.bridge.BridgeConfig;
import org.bouncycastle.asn1.x500.X500Name;
import org.bouncycastle.cert.jcajce.JcaX509v3CertificateBuilder;
import org.bouncycastle.crypto.params.AsymmetricKeyParameter;
import org.bouncycastle.crypto.util.PrivateKeyFactory;
import org.bouncycastle.operator.OperatorCreationException;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.tls.Certificate;
import org.bouncycastle.tls.crypto.TlsCertificate;
import org.bouncycastle.tls.crypto.impl.bc.BcTlsCertificate;
import org.bouncycastle.tls.crypto.impl.bc.BcTlsCrypto;

/** The bridge's self-signed ECDSA P-256 certificate and its fingerprint; one for all endpoints, renewed daily as in JVB. */
final class DtlsIdentity {
    static final BcTlsCrypto CRYPTO = new BcTlsCrypto(new SecureRandom());

    private static final Duration RENEW_AFTER = Duration.ofDays(1);
    private static DtlsIdentity current;

    final Certificate certificate;
    final AsymmetricKeyParameter privateKey;
    final String hash;
    final String fingerprint;
    private final Instant created = Instant.now();

    private DtlsIdentity() throws GeneralSecurityException, OperatorCreationException, IOException {
        KeyPairGenerator generator = KeyPairGenerator.getInstance("EC");
        generator.initialize(new ECGenParameterSpec("secp256r1"));
        KeyPair keys = generator.generateKeyPair();
        X500Name name = new X500Name("CN=jvbtune lab bridge");
        byte[] encoded = new JcaX509v3CertificateBuilder(
                        name,
                        BigInteger.valueOf(created.toEpochMilli()),
                        Date.from(created.minus(Duration.ofDays(1))),
                        Date.from(created.plus(Duration.ofDays(7))),
                        name,
                        keys.getPublic())
                .build(new JcaContentSignerBuilder("SHA256withECDSA").build(keys.getPrivate()))
                .getEncoded();
        certificate = new Certificate(new TlsCertificate[] {new BcTlsCertificate(CRYPTO, encoded)});
        privateKey = PrivateKeyFactory.createKey(keys.getPrivate().getEncoded());
        hash = BridgeConfig.string("jmt.dtls.local-fingerprint-hash-function").toLowerCase(Locale.ROOT);
        fingerprint = fingerprint(encoded, hash);
    }

    /** The identity for a new endpoint. */
    static synchronized DtlsIdentity current() {
        if (current == null || current.created.plus(RENEW_AFTER).isBefore(Instant.now())) {
            try {
                current = new DtlsIdentity();
            } catch (GeneralSecurityException | OperatorCreationException | IOException e) {
                throw new IllegalStateException("cannot make the DTLS certificate", e);
            }
        }
        return current;
    }

    /**
     * Checks each certificate of a chain against the fingerprints that were signalled, by the strongest accepted hash
     * function among them (RFC 8122 section 5).
     *
     * @throws SecurityException where one does not match
     */
    static void verify(Certificate chain, Map<String, List<String>> signalled) throws IOException {
        if (chain == null || chain.isEmpty()) {
            throw new SecurityException("the peer sent no certificate");
        }
        String strongest = BridgeConfig.strings("jmt.dtls.accepted-fingerprint-hash-functions").stream()
                .map(name -> name.toLowerCase(Locale.ROOT))
                .filter(signalled::containsKey)
                .findFirst()
                .orElseThrow(() -> new SecurityException("no accepted fingerprint was signalled: " + signalled.keySet()));
        for (TlsCertificate certificate : chain.getCertificateList()) {
            String actual = fingerprint(certificate.getEncoded(), strongest);
            if (signalled.get(strongest).stream().noneMatch(actual::equalsIgnoreCase)) {
                throw new SecurityException("the peer's certificate " + actual + " is not the one that was signalled");
            }
        }
    }

    private static String fingerprint(byte[] encoded, String hash) {
        try {
            StringJoiner hex = new StringJoiner(":");
            for (byte b : MessageDigest.getInstance(hash).digest(encoded)) {
                hex.add(String.format("%02X", b));
            }
            return hex.toString();
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalArgumentException("unknown hash function " + hash, e);
        }
    }
}
