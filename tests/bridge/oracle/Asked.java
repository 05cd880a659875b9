import org.ice4j.ice.harvest.HarvestConfig;
import org.jitsi.config.JitsiConfig;

/** What ice4j asks for, by the libraries that a bridge is made of, prepared as its Main does it. */
public class Asked {
    public static void main(String[] arguments) {
        var legacy = JitsiConfig.getSipCommunicatorProps();
        for (String name : legacy.getPropertyNamesByPrefix("org.ice4j", false)) {
            String value = legacy.getString(name);
            if (value != null && System.getProperty(name) == null) {
                System.setProperty(name, value);
            }
        }
        JitsiConfig.Companion.reloadNewConfig();
        System.out.println("asked " + HarvestConfig.config.udpReceiveBufferSize());
    }
}
