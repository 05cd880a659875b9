package jvbtune.bridge;

import java.util.logging.LogRecord;
import java.util.logging.StreamHandler;
import org.jitsi.utils.logging2.JitsiLogFormatter;

/** Logs to standard output, a line at a time, in the real bridge's format. */
public final class StdoutHandler extends StreamHandler {
    public StdoutHandler() {
        super(System.out, new JitsiLogFormatter());
    }

    @Override
    public synchronized void publish(LogRecord entry) {
        super.publish(entry);
        flush();
    }
}
