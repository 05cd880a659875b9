import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetAddress;

/**
 * Work that a profile of it must show: calls in {@code text} (JFR cannot walk most stacks of a loop without calls),
 * datagrams through the kernel, allocation.
 */
public class Spin {
    static volatile int sink;
    static byte[] kept;

    static int text(int rounds) {
        int sum = 0;
        for (int i = 0; i < rounds; i++) {
            sum += Integer.toString(i).hashCode();
        }
        return sum;
    }

    static void allocate() {
        kept = new byte[512];
    }

    public static void main(String[] arguments) throws Exception {
        DatagramSocket socket = new DatagramSocket(0, InetAddress.getLoopbackAddress());
        DatagramPacket packet =
            new DatagramPacket(new byte[64], 64, InetAddress.getLoopbackAddress(), socket.getLocalPort());
        while (true) {
            sink = text(2000);
            for (int i = 0; i < 20; i++) {
                socket.send(packet);
                socket.receive(packet);
                allocate();
            }
        }
    }
}
