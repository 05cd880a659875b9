import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetAddress;

/** Work that a profile of it must show: arithmetic in {@code hot}, datagrams through the kernel, allocation. */
public class Spin {
    static volatile long sink;
    static byte[] kept;

    static long hot(int rounds) {
        long sum = 0;
        for (int i = 0; i < rounds; i++) {
            sum += i * 31L ^ sum;
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
            sink = hot(20000);
            for (int i = 0; i < 20; i++) {
                socket.send(packet);
                socket.receive(packet);
                allocate();
            }
        }
    }
}
