import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;

/**
 * One Kafka node that ends with its parent. Standard input is a pipe the parent holds: the line "stop" is an orderly
 * shutdown, its end means that the parent is gone, however it ended; the node then removes its folder and halts.
 *
 * <p>A pipe works on every system and needs no signal handler in the parent; a parent-death signal would fire when the
 * thread that started the node ends, which in a test runner is not the process.
 */
public final class Node {
    /** Arguments: the node's folder, which holds server.properties, and the cluster id. */
    public static void main(String[] arguments) throws Exception {
        Path folder = Path.of(arguments[0]);
        String properties = folder.resolve("server.properties").toString();
        Thread watch = new Thread(() -> watch(folder), "parent-watch");
        watch.setDaemon(true);
        watch.start();
        if (!Files.exists(folder.resolve("data").resolve("meta.properties"))) {
            String[] format = {"format", "-t", arguments[1], "-c", properties};
            int status = kafka.tools.StorageTool.execute(format, System.err);
            if (status != 0) {
                System.exit(status);
            }
        }
        kafka.Kafka.main(new String[] {properties});
    }

    private static void watch(Path folder) {
        try (BufferedReader parent = new BufferedReader(new InputStreamReader(System.in))) {
            String line;
            while ((line = parent.readLine()) != null) {
                if (line.equals("stop")) {
                    // Kafka's own shutdown hook flushes and closes its logs.
                    new Thread(() -> System.exit(0)).start();
                }
            }
        } catch (IOException broken) {
            // The same as its end.
        }
        remove(folder);
        Runtime.getRuntime().halt(0);
    }

    private static void remove(Path folder) {
        // Twice: the node still writes while its files go.
        for (int round = 0; round < 2; round++) {
            try (var tree = Files.walk(folder)) {
                for (Path path : tree.sorted(Comparator.reverseOrder()).collect(java.util.stream.Collectors.toList())) {
                    path.toFile().delete();
                }
            } catch (IOException | java.io.UncheckedIOException gone) {
                // What is not there needs no removal.
            }
        }
    }
}
