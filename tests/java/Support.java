// SPDX-License-Identifier: Apache-2.0

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.rocketmq.acl.common.AclClientRPCHook;
import org.apache.rocketmq.acl.common.SessionCredentials;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.remoting.RPCHook;

/**
 * Options in the form {@code name=value}, and RocketMQ clients configured from them.
 *
 * <p>Options that every command knows: {@code namesrv} (host:port;host:port), {@code namespace}, {@code instance},
 * {@code access_key} with {@code secret_key} and {@code security_token}, {@code tls} (true) with {@code ca},
 * {@code cert} and {@code key} (PEM files, the key in PKCS#8).
 */
final class Support {
    private static final Gson JSON = new GsonBuilder().disableHtmlEscaping().create();

    private static final int TIMEOUT_MILLIS = 30_000;

    private final Map<String, String> options = new LinkedHashMap<>();

    /** Reads {@code arguments} from index {@code from} on; an argument without {@code =} is an error. */
    Support(String[] arguments, int from) {
        for (int i = from; i < arguments.length; i++) {
            int equals = arguments[i].indexOf('=');
            if (equals <= 0) {
                throw new IllegalArgumentException("argument \"" + arguments[i] + "\": write it as name=value");
            }
            options.put(arguments[i].substring(0, equals), arguments[i].substring(equals + 1));
        }
        if (flag("tls")) {
            useTls();
        }
    }

    boolean has(String name) {
        return options.containsKey(name);
    }

    String text(String name, String otherwise) {
        return options.getOrDefault(name, otherwise);
    }

    String required(String name) {
        String value = options.get(name);
        if (value == null || value.isEmpty()) {
            throw new IllegalArgumentException("option \"" + name + "\" is missing: add " + name + "=…");
        }
        return value;
    }

    int number(String name, int otherwise) {
        String value = options.get(name);
        try {
            return value == null ? otherwise : Integer.parseInt(value);
        } catch (NumberFormatException notANumber) {
            throw new IllegalArgumentException("option \"" + name + "\" is \"" + value + "\": give a whole number");
        }
    }

    boolean flag(String name) {
        return Boolean.parseBoolean(options.get(name));
    }

    /** The options whose name starts with {@code prefix}, without the prefix. */
    Map<String, String> prefixed(String prefix) {
        Map<String, String> found = new LinkedHashMap<>();
        options.forEach((name, value) -> {
            if (name.startsWith(prefix)) {
                found.put(name.substring(prefix.length()), value);
            }
        });
        return found;
    }

    DefaultMQProducer producer(String group) {
        DefaultMQProducer producer = configured(new DefaultMQProducer(group, credentials()));
        producer.setSendMsgTimeout(TIMEOUT_MILLIS);
        return producer;
    }

    TransactionMQProducer transactionProducer(String group) {
        TransactionMQProducer producer = configured(new TransactionMQProducer(group, credentials()));
        producer.setSendMsgTimeout(TIMEOUT_MILLIS);
        return producer;
    }

    DefaultMQPushConsumer consumer(String group) {
        DefaultMQPushConsumer consumer = configured(new DefaultMQPushConsumer(group, credentials()));
        consumer.setConsumeFromWhere(text("from", "first").equals("last")
            ? ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET : ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        return consumer;
    }

    private <T extends ClientConfig> T configured(T client) {
        client.setNamesrvAddr(required("namesrv"));
        client.setInstanceName(text("instance", "peer-" + System.nanoTime()));
        client.setUseTLS(flag("tls"));
        client.setMqClientApiTimeout(TIMEOUT_MILLIS); // a test machine may be busy
        if (has("namespace")) {
            client.setNamespace(required("namespace"));
        }
        return client;
    }

    private RPCHook credentials() {
        if (!has("access_key")) {
            return null;
        }
        SessionCredentials keys = new SessionCredentials(required("access_key"), required("secret_key"));
        if (has("security_token")) {
            keys.setSecurityToken(required("security_token"));
        }
        return new AclClientRPCHook(keys);
    }

    /** The client reads its TLS settings from system properties when its classes are loaded, so before any is touched. */
    private void useTls() {
        System.setProperty("tls.enable", "true");
        System.setProperty("tls.test.mode.enable", "false");
        System.setProperty("tls.config.file", "");
        System.setProperty("tls.client.authServer", "true");
        System.setProperty("tls.client.trustCertPath", required("ca"));
        if (has("cert")) {
            System.setProperty("tls.client.certPath", required("cert"));
            System.setProperty("tls.client.keyPath", required("key"));
        }
    }

    /** One JSON object on one line of the standard output; safe to call from several threads. */
    static void print(Map<String, ?> line) {
        synchronized (System.out) {
            System.out.println(JSON.toJson(line));
            System.out.flush();
        }
    }

    static String[] parseArray(String json) {
        return JSON.fromJson(json, String[].class);
    }

    /** A map in insertion order from alternating names and values; null values are left out. */
    static Map<String, Object> line(Object... namesAndValues) {
        Map<String, Object> line = new LinkedHashMap<>();
        for (int i = 0; i < namesAndValues.length; i += 2) {
            if (namesAndValues[i + 1] != null) {
                line.put((String) namesAndValues[i], namesAndValues[i + 1]);
            }
        }
        return line;
    }

    /** User and system time of this process in seconds, all threads (garbage collector and compiler too), in steps of 10 ms. */
    static double cpuSeconds() throws IOException {
        String stat = Files.readString(Path.of("/proc/self/stat"));
        String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
        return (Long.parseLong(fields[11]) + Long.parseLong(fields[12])) / 100.0;
    }

    /** Highest resident memory of this process so far, in MiB. */
    static double residentMib() throws IOException {
        for (String row : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (row.startsWith("VmHWM")) {
                return Long.parseLong(row.replaceAll("[^0-9]", "")) / 1024.0;
            }
        }
        return 0;
    }
}
