// SPDX-License-Identifier: Apache-2.0

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;

/**
 * The Java client's side of the client benchmark: one run, one JSON line.
 *
 * <pre>Bench MODE namesrv=HOST:PORT topic=T [messages=50000] [inflight=64] [size=1024] [batch=32] [timeout=120]</pre>
 *
 * Modes: {@code sync} ({@code inflight} threads, each waits for its answer), {@code async} (callbacks, at most
 * {@code inflight} unanswered), {@code batch} ({@code inflight} threads, {@code batch} messages a request), {@code push}
 * (a fresh group reads {@code messages} from the first offset, default settings), {@code push-tuned} (the same with
 * 32 messages a listener call and 128 a pull).
 *
 * <p>{@code cpu_seconds} is user and system time of the whole process, start of the JVM and JIT compiler included;
 * {@code run_cpu_seconds} begins with the measured section. Latencies are per request, in microseconds.
 */
public final class Bench {
    private static final int WARM_UP_SENDS = 20;
    private static final int ANSWER_TIMEOUT_MILLIS = 10_000;

    private final Support options;
    private final String mode;
    private final int messages;
    private final int inflight;
    private final int batch;
    private final byte[] body;
    private final AtomicInteger succeeded = new AtomicInteger();
    private final AtomicInteger failed = new AtomicInteger();
    private final long[] latenciesNanos;
    private final AtomicInteger latencyCount = new AtomicInteger();
    private double cpuBefore;

    private Bench(String mode, Support options) {
        this.mode = mode;
        this.options = options;
        this.messages = options.number("messages", 50_000);
        this.inflight = options.number("inflight", 64);
        this.batch = options.number("batch", 32);
        this.body = new byte[options.number("size", 1024)];
        new Random(7).nextBytes(body);
        this.latenciesNanos = new long[messages];
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length == 0) {
            throw new IllegalArgumentException("mode is missing: sync, async, batch, push or push-tuned");
        }
        Bench bench = new Bench(arguments[0], new Support(arguments, 1));
        if (bench.mode.startsWith("push")) {
            bench.consume();
        } else {
            bench.send();
        }
        System.exit(0);
    }

    private Message message(int index) {
        byte[] copy = body.clone();
        ByteBuffer.wrap(copy).putLong(index);
        return new Message(options.required("topic"), "A", copy);
    }

    private void send() throws Exception {
        DefaultMQProducer producer = options.producer("bench-java");
        producer.setSendMsgTimeout(ANSWER_TIMEOUT_MILLIS);
        producer.setRetryTimesWhenSendFailed(0);
        producer.setRetryTimesWhenSendAsyncFailed(0);
        producer.start();
        for (int i = 0; i < WARM_UP_SENDS; i++) {
            producer.send(message(i));
        }
        cpuBefore = Support.cpuSeconds();
        long start = System.nanoTime();
        switch (mode) {
            case "sync": inThreads(index -> producer.send(message(index)), 1); break;
            case "batch": inThreads(index -> producer.send(batchFrom(index)), batch); break;
            case "async": sendAsync(producer); break;
            default: throw new IllegalArgumentException("mode \"" + mode + "\": use sync, async, batch, push or push-tuned");
        }
        report(mode, System.nanoTime() - start);
        producer.shutdown();
    }

    private List<Message> batchFrom(int index) {
        List<Message> list = new ArrayList<>(batch);
        for (int i = index; i < Math.min(index + batch, messages); i++) {
            list.add(message(i));
        }
        return list;
    }

    private interface Request {
        void run(int index) throws Exception;
    }

    /** Runs requests of {@code step} messages in {@code inflight} threads until all messages are sent. */
    private void inThreads(Request request, int step) throws InterruptedException {
        AtomicInteger next = new AtomicInteger();
        CountDownLatch done = new CountDownLatch(inflight);
        for (int i = 0; i < inflight; i++) {
            new Thread(() -> {
                for (int index = next.getAndAdd(step); index < messages; index = next.getAndAdd(step)) {
                    int count = Math.min(step, messages - index);
                    long begin = System.nanoTime();
                    try {
                        request.run(index);
                        answered(begin, count);
                    } catch (Exception error) {
                        refused(error, count);
                    }
                }
                done.countDown();
            }).start();
        }
        done.await();
    }

    private void sendAsync(DefaultMQProducer producer) throws Exception {
        Semaphore unanswered = new Semaphore(inflight);
        for (int i = 0; i < messages; i++) {
            unanswered.acquire();
            long begin = System.nanoTime();
            producer.send(message(i), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    answered(begin, 1);
                    unanswered.release();
                }

                @Override
                public void onException(Throwable error) {
                    refused(error, 1);
                    unanswered.release();
                }
            });
        }
        unanswered.acquire(inflight);
    }

    private void answered(long begin, int count) {
        latenciesNanos[latencyCount.getAndIncrement()] = System.nanoTime() - begin;
        succeeded.addAndGet(count);
    }

    private void refused(Throwable error, int count) {
        if (failed.getAndAdd(count) == 0) {
            System.err.println("first error: " + error);
        }
    }

    private void consume() throws Exception {
        AtomicLong first = new AtomicLong();
        AtomicLong last = new AtomicLong();
        cpuBefore = Support.cpuSeconds();
        DefaultMQPushConsumer consumer = options.consumer("bench-java-" + System.nanoTime());
        consumer.subscribe(options.required("topic"), "*");
        if (mode.equals("push-tuned")) {
            consumer.setConsumeMessageBatchMaxSize(32);
            consumer.setPullBatchSize(128);
        }
        consumer.registerMessageListener((MessageListenerConcurrently) (received, context) -> {
            first.compareAndSet(0, System.nanoTime());
            last.set(System.nanoTime());
            succeeded.addAndGet(received.size());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        long end = System.currentTimeMillis() + options.number("timeout", 120) * 1000L;
        while (succeeded.get() < messages && System.currentTimeMillis() < end) {
            Thread.sleep(5);
        }
        failed.set(Math.max(0, messages - succeeded.get()));
        report(mode, last.get() - first.get());
        consumer.shutdown();
    }

    private void report(String name, long nanos) throws Exception {
        long[] sorted = Arrays.copyOf(latenciesNanos, latencyCount.get());
        Arrays.sort(sorted);
        double seconds = nanos / 1e9;
        double cpu = Support.cpuSeconds();
        Support.print(Support.line("client", "java", "mode", name, "inflight", name.startsWith("push") ? 0 : inflight,
            "messages", succeeded.get(), "seconds", rounded(seconds, 3), "msgs_per_s", Math.round(succeeded.get() / seconds),
            "p50_us", percentileMicros(sorted, 0.50), "p99_us", percentileMicros(sorted, 0.99),
            "cpu_seconds", rounded(cpu, 2), "run_cpu_seconds", rounded(cpu - cpuBefore, 2),
            "run_cpu_s_per_100k", rounded((cpu - cpuBefore) * 1e5 / Math.max(1, succeeded.get()), 3),
            "rss_mib", rounded(Support.residentMib(), 1), "errors", failed.get()));
    }

    private static long percentileMicros(long[] sorted, double share) {
        return sorted.length == 0 ? 0 : sorted[(int) ((sorted.length - 1) * share)] / 1000;
    }

    private static double rounded(double value, int digits) {
        double unit = Math.pow(10, digits);
        return Math.round(value * unit) / unit;
    }
}
