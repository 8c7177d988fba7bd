// SPDX-License-Identifier: Apache-2.0

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * The pipeline between two topics that a user would write with the Java client: a push consumer whose listener sends what it
 * gets as one batch to the queue of the same number, and acknowledges after the answer. Tag, keys and body are kept. One
 * run, one JSON line.
 *
 * <pre>Pipeline MODE namesrv=HOST:PORT topic=T to=HOST:PORT target=T messages=N [batch=256] [pull=1024] [timeout=600]</pre>
 *
 * Modes: {@code orderly} (one listener call at a time in each queue, as a sync keeps the order), {@code concurrent} (as many
 * as there are threads, without any order).
 */
public final class Pipeline {
    private static final int ANSWER_TIMEOUT_MILLIS = 10_000;

    private final Support options;
    private final AtomicLong first = new AtomicLong();
    private final AtomicLong last = new AtomicLong();
    private final AtomicLong written = new AtomicLong();
    private final Map<Integer, MessageQueue> queues = new LinkedHashMap<>();
    private DefaultMQProducer producer;

    private Pipeline(Support options) {
        this.options = options;
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length == 0) {
            throw new IllegalArgumentException("mode is missing: orderly or concurrent");
        }
        new Pipeline(new Support(arguments, 1)).run(arguments[0]);
        System.exit(0);
    }

    private void run(String mode) throws Exception {
        int messages = options.number("messages", 100_000);
        producer = options.producer("pipeline-java-" + System.nanoTime());
        producer.setNamesrvAddr(options.required("to"));
        producer.setInstanceName("pipeline-producer");
        producer.setSendMsgTimeout(ANSWER_TIMEOUT_MILLIS);
        producer.start();
        for (MessageQueue queue : producer.fetchPublishMessageQueues(options.required("target"))) {
            queues.put(queue.getQueueId(), queue);
        }
        double cpuBefore = Support.cpuSeconds();
        DefaultMQPushConsumer consumer = options.consumer("pipeline-java-" + System.nanoTime());
        consumer.subscribe(options.required("topic"), "*");
        consumer.setConsumeMessageBatchMaxSize(options.number("batch", 256));
        consumer.setPullBatchSize(options.number("pull", 1024));
        if (mode.equals("orderly")) {
            consumer.registerMessageListener((MessageListenerOrderly) (received, context) ->
                copy(received) ? ConsumeOrderlyStatus.SUCCESS : ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT);
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) (received, context) ->
                copy(received) ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS : ConsumeConcurrentlyStatus.RECONSUME_LATER);
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
        producer.shutdown();
    }

    private boolean copy(List<MessageExt> received) {
        first.compareAndSet(0, System.nanoTime());
        List<Message> batch = new ArrayList<>(received.size());
        for (MessageExt original : received) {
            Message copy = new Message(options.required("target"), original.getTags(), original.getKeys(), original.getBody());
            batch.add(copy);
        }
        try {
            producer.send(batch, queues.get(received.get(0).getQueueId() % queues.size()));
        } catch (Exception error) {
            System.err.println("send failed: " + error);
            return false;
        }
        last.set(System.nanoTime());
        written.addAndGet(received.size());
        return true;
    }
}
