import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;

/** Busy 6 of 10 seconds' tenths; prints what a JVB's cpu-usage measurement reads, and when. */
public class Load {
    public static void main(String[] arguments) throws Exception {
        OperatingSystemMXBean bean = ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class);
        bean.getSystemCpuLoad(); // deprecated, and what JVB calls
        System.out.println("begun");
        long end = System.nanoTime() + Long.parseLong(arguments[0]) * 1_000_000_000L;
        while (System.nanoTime() < end) {
            long busy = System.nanoTime() + 60_000_000L;
            while (System.nanoTime() < busy) {
            }
            Thread.sleep(40);
        }
        System.out.println(bean.getSystemCpuLoad());
        Thread.sleep(10_000);
    }
}
