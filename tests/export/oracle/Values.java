import com.typesafe.config.Config;
import com.typesafe.config.ConfigFactory;
import com.typesafe.config.ConfigRenderOptions;
import java.io.File;

/** A file as Typesafe Config reads it, which Jitsi's programs use: one JSON object on standard output. */
public class Values {
    public static void main(String[] files) {
        for (String file : files) {
            Config config = ConfigFactory.parseFile(new File(file)).resolve();
            System.out.println(config.root().render(ConfigRenderOptions.concise()));
        }
    }
}
