// SPDX-License-Identifier: Apache-2.0

import com.google.gson.Gson;
import com.google.gson.JsonObject;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * The pipeline from a topic into a table that a user would write with the Java client and JDBC: a push consumer whose
 * listener writes what it gets as one JDBC batch of upserts in one transaction, and acknowledges after the commit. One run,
 * one JSON line.
 *
 * <pre>JdbcPipeline MODE namesrv=HOST:PORT topic=T messages=N [url=jdbc:… user=U password=P table=T] [batch=500] [pull=1024] [timeout=600]</pre>
 *
 * Modes: {@code store} (fills the topic with JSON objects of about 1 KiB, numbered), {@code orderly} (one listener call at a
 * time in each queue, as a sync keeps the order), {@code concurrent} (as many as there are threads, without any order). The
 * driver's {@code reWriteBatchedInserts=true} belongs into the URL: without it each row is a statement.
 */
public final class JdbcPipeline {
    private static final Gson JSON = new Gson();
    private static final int NOTE_LENGTH = 940;

    private final Support options;
    private final AtomicLong first = new AtomicLong();
    private final AtomicLong last = new AtomicLong();
    private final AtomicLong written = new AtomicLong();
    private final ThreadLocal<Connection> connections = ThreadLocal.withInitial(this::connect);

    private JdbcPipeline(Support options) {
        this.options = options;
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length == 0) {
            throw new IllegalArgumentException("mode is missing: store, orderly or concurrent");
        }
        JdbcPipeline pipeline = new JdbcPipeline(new Support(arguments, 1));
        if (arguments[0].equals("store")) {
            pipeline.store();
        } else {
            pipeline.run(arguments[0]);
        }
        System.exit(0);
    }

    private void store() throws Exception {
        DefaultMQProducer producer = options.producer("store-" + System.nanoTime());
        producer.start();
        Random random = new Random(7);
        int messages = options.number("messages", 100_000);
        for (int from = 0; from < messages; from += 256) {
            List<Message> batch = new ArrayList<>();
            for (int id = from; id < Math.min(from + 256, messages); id++) {
                StringBuilder note = new StringBuilder(NOTE_LENGTH);
                while (note.length() < NOTE_LENGTH) {
                    note.append((char) ('a' + random.nextInt(26)));
                }
                String body = "{\"id\":" + id + ",\"customer\":\"customer-" + id % 1000 + "\",\"amount\":" + id % 500 + ".25,"
                    + "\"paid\":" + (id % 2 == 0) + ",\"note\":\"" + note + "\"}";
                batch.add(new Message(options.required("topic"), body.getBytes(StandardCharsets.UTF_8)));
            }
            producer.send(batch);
        }
        producer.shutdown();
    }

    private void run(String mode) throws Exception {
        int messages = options.number("messages", 100_000);
        double cpuBefore = Support.cpuSeconds();
        DefaultMQPushConsumer consumer = options.consumer("jdbc-java-" + System.nanoTime());
        consumer.subscribe(options.required("topic"), "*");
        consumer.setConsumeMessageBatchMaxSize(options.number("batch", 500));
        consumer.setPullBatchSize(options.number("pull", 1024));
        if (mode.equals("orderly")) {
            consumer.registerMessageListener((MessageListenerOrderly) (received, context) ->
                write(received) ? ConsumeOrderlyStatus.SUCCESS : ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT);
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) (received, context) ->
                write(received) ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS : ConsumeConcurrentlyStatus.RECONSUME_LATER);
        }
        consumer.start();
        long end = System.currentTimeMillis() + options.number("timeout", 600) * 1000L;
        while (written.get() < messages && System.currentTimeMillis() < end) {
            Thread.sleep(5);
        }
        double seconds = (last.get() - first.get()) / 1e9;
        double cpu = Support.cpuSeconds();
        Support.print(Support.line("client", "java", "mode", mode, "messages", written.get(), "seconds", seconds,
            "msgs_per_s", Math.round(written.get() / seconds), "cpu_seconds", cpu, "run_cpu_seconds", cpu - cpuBefore,
            "rss_mib", Math.round(Support.residentMib())));
        consumer.shutdown();
    }

    private Connection connect() {
        try {
            Connection connection =
                DriverManager.getConnection(options.required("url"), options.required("user"), options.required("password"));
            connection.setAutoCommit(false);
            return connection;
        } catch (SQLException error) {
            throw new IllegalStateException(error);
        }
    }

    private boolean write(List<MessageExt> received) {
        first.compareAndSet(0, System.nanoTime());
        String sql = "INSERT INTO " + options.required("table") + " (id, customer, amount, paid, note) VALUES (?, ?, ?, ?, ?) "
            + "ON CONFLICT (id) DO UPDATE SET customer = EXCLUDED.customer, amount = EXCLUDED.amount, paid = EXCLUDED.paid, "
            + "note = EXCLUDED.note";
        Connection connection = connections.get();
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (MessageExt message : received) {
                JsonObject row = JSON.fromJson(new String(message.getBody(), StandardCharsets.UTF_8), JsonObject.class);
                statement.setLong(1, row.get("id").getAsLong());
                statement.setString(2, row.get("customer").getAsString());
                statement.setDouble(3, row.get("amount").getAsDouble());
                statement.setBoolean(4, row.get("paid").getAsBoolean());
                statement.setString(5, row.get("note").getAsString());
                statement.addBatch();
            }
            statement.executeBatch();
            connection.commit();
        } catch (SQLException error) {
            System.err.println("write failed: " + error);
            try {
                connection.rollback();
            } catch (SQLException ignored) {
                connections.remove();
            }
            return false;
        }
        last.set(System.nanoTime());
        written.addAndGet(received.size());
        return true;
    }
}
