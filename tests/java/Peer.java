// SPDX-License-Identifier: Apache-2.0

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Predicate;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.compression.CompressionType;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageClientExt;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;

/**
 * The Java client as the other end of conformance tests. Every output line is one JSON object with an {@code event}:
 * {@code sent}, {@code started}, {@code message}, {@code queues}, {@code error}, {@code done}.
 *
 * <pre>
 * Peer send    namesrv= topic= [group= count=1 tag= keys= body= size= property.NAME= delay=LEVEL deliver_after=MS
 *              queue=N | shard=KEY  batch=N oneway=true transaction=commit|rollback|check compress_over=BYTES
 *              compress_type=ZLIB|LZ4|ZSTD]
 * Peer receive namesrv= topic= group= [count=1 timeout=30 expression=TAG||TAG | sql=… from=first|last orderly=true
 *              broadcasting=true fail=N linger=MS max_reconsume=N]
 * Peer member  namesrv= topic= group= [seconds=30 and the filters of receive]
 * Peer serve   one command a line on the standard input, as a JSON array of these arguments
 * </pre>
 *
 * {@code {i}} in {@code body}, {@code keys}, {@code shard} and properties is the index of the message. {@code fail=N}
 * asks for redelivery until a message's {@code reconsumeTimes} is N. {@code transaction=check} leaves the state
 * unknown and commits when the broker asks. {@code linger} keeps receiving that long after the count is reached, to see
 * what should not come. {@code member} ends after {@code seconds}, on SIGTERM or on the line {@code quit}.
 *
 * <p>Exit code: 0, 1 for an error, 3 when {@code receive} saw fewer messages than {@code count}.
 */
public final class Peer {
    private static final int FEWER_MESSAGES = 3;
    private static final int POLL_MILLIS = 100;

    private final Support options;

    private Peer(Support options) {
        this.options = options;
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length == 1 && arguments[0].equals("serve")) {
            serve();
            System.exit(0);
        }
        System.exit(run(arguments));
    }

    private static void serve() throws Exception {
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String row = input.readLine(); row != null; row = input.readLine()) {
            run(Support.parseArray(row));
        }
    }

    private static int run(String[] arguments) {
        int code = 1;
        try {
            String command = arguments.length == 0 ? "" : arguments[0];
            Peer peer = new Peer(new Support(arguments, 1));
            switch (command) {
                case "send": code = peer.send(); break;
                case "receive": code = peer.receive(); break;
                case "member": code = peer.member(); break;
                default: throw new IllegalArgumentException("command \"" + command + "\": use send, receive, member or serve");
            }
        } catch (Exception error) {
            printError(error);
        }
        Support.print(Support.line("event", "done", "code", code));
        return code;
    }

    // ---- send ----

    private interface Sender {
        SendResult send(Message message) throws Exception;
    }

    private int send() throws Exception {
        return options.has("transaction") ? sendInTransaction() : sendPlain();
    }

    private int sendPlain() throws Exception {
        DefaultMQProducer producer = options.producer(options.text("group", "peer-java"));
        compression(producer);
        producer.start();
        try {
            int batch = options.number("batch", 1);
            return batch > 1 ? sendBatches(producer, batch) : sendEach(sender(producer));
        } finally {
            producer.shutdown();
        }
    }

    private void compression(DefaultMQProducer producer) {
        if (options.has("compress_over")) {
            producer.setCompressMsgBodyOverHowmuch(options.number("compress_over", 4096));
        }
        if (options.has("compress_type")) {
            producer.setCompressType(CompressionType.of(options.required("compress_type")));
        }
    }

    private Sender sender(DefaultMQProducer producer) throws MQClientException {
        if (options.flag("oneway")) {
            return message -> {
                producer.sendOneway(message);
                return null;
            };
        }
        if (options.has("queue")) {
            int id = options.number("queue", 0);
            return message -> producer.send(message, (queues, sent, wanted) -> queueWithId(queues, id), null);
        }
        if (options.has("shard")) {
            return message -> producer.send(message, (queues, sent, key) ->
                queues.get(Math.floorMod(key.hashCode(), queues.size())), message.getProperty(MessageConst.PROPERTY_SHARDING_KEY));
        }
        return producer::send;
    }

    private static MessageQueue queueWithId(List<MessageQueue> queues, int id) {
        return queues.stream().filter(queue -> queue.getQueueId() == id).findFirst()
            .orElseThrow(() -> new IllegalArgumentException("option \"queue\" is \"" + id + "\": the topic has " + queues));
    }

    private int sendEach(Sender sender) {
        int code = 0;
        for (int i = 0; i < options.number("count", 1); i++) {
            try {
                printSent(i, 1, sender.send(message(i)));
            } catch (Exception error) {
                printError(error);
                code = 1;
            }
        }
        return code;
    }

    private int sendBatches(DefaultMQProducer producer, int batch) throws Exception {
        int count = options.number("count", batch);
        for (int i = 0; i < count; i += batch) {
            List<Message> messages = new ArrayList<>();
            for (int j = i; j < Math.min(count, i + batch); j++) {
                messages.add(message(j));
            }
            printSent(i, messages.size(), producer.send(messages));
        }
        return 0;
    }

    private int sendInTransaction() throws Exception {
        LocalTransactionState local = localState(options.required("transaction"));
        int count = options.number("count", 1);
        CountDownLatch checked = new CountDownLatch(local == LocalTransactionState.UNKNOW ? count : 0);
        TransactionMQProducer producer = options.transactionProducer(options.text("group", "peer-java-transaction"));
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
                return local;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                checked.countDown();
                return LocalTransactionState.COMMIT_MESSAGE;
            }
        });
        producer.start();
        try {
            int code = sendEach(message -> producer.sendMessageInTransaction(message, null));
            boolean all = code != 0 || checked.await(options.number("timeout", 90), TimeUnit.SECONDS);
            TimeUnit.MILLISECONDS.sleep(500); // the last end-of-transaction request is one-way
            return all ? code : FEWER_MESSAGES;
        } finally {
            producer.shutdown();
        }
    }

    private static LocalTransactionState localState(String name) {
        switch (name) {
            case "commit": return LocalTransactionState.COMMIT_MESSAGE;
            case "rollback": return LocalTransactionState.ROLLBACK_MESSAGE;
            case "check": return LocalTransactionState.UNKNOW;
            default: throw new IllegalArgumentException("option \"transaction\" is \"" + name + "\": use commit, rollback or check");
        }
    }

    private Message message(int index) {
        Message message = new Message(options.required("topic"), body(index));
        if (options.has("tag")) {
            message.setTags(options.required("tag"));
        }
        if (options.has("keys")) {
            message.setKeys(indexed("keys", index));
        }
        if (options.has("shard")) {
            message.putUserProperty(MessageConst.PROPERTY_SHARDING_KEY, indexed("shard", index));
        }
        options.prefixed("property.").forEach((name, value) -> message.putUserProperty(name, value.replace("{i}", "" + index)));
        if (options.has("delay")) {
            message.setDelayTimeLevel(options.number("delay", 1));
        }
        if (options.has("deliver_after")) {
            message.setDeliverTimeMs(System.currentTimeMillis() + options.number("deliver_after", 0));
        }
        return message;
    }

    private String indexed(String option, int index) {
        return options.required(option).replace("{i}", Integer.toString(index));
    }

    /** The text of {@code body}, or {@code size} bytes that compress well and are the same in every run. */
    private byte[] body(int index) {
        if (!options.has("size")) {
            return options.text("body", "message {i}").replace("{i}", Integer.toString(index)).getBytes(StandardCharsets.UTF_8);
        }
        byte[] body = new byte[options.number("size", 1024)];
        Random random = new Random(index);
        for (int i = 0; i < body.length; i++) {
            body[i] = (byte) ('a' + random.nextInt(4));
        }
        return body;
    }

    private static void printSent(int index, int count, SendResult result) {
        if (result == null) {
            Support.print(Support.line("event", "sent", "index", index, "count", count, "status", "ONE_WAY"));
            return;
        }
        Support.print(Support.line("event", "sent", "index", index, "count", count, "status", result.getSendStatus().name(),
            "msgId", result.getMsgId(), "offsetMsgId", result.getOffsetMsgId(), "broker", result.getMessageQueue().getBrokerName(),
            "queueId", result.getMessageQueue().getQueueId(), "queueOffset", result.getQueueOffset(),
            "transactionId", result.getTransactionId()));
    }

    private static void printError(Exception error) {
        Integer code = error instanceof MQBrokerException ? Integer.valueOf(((MQBrokerException) error).getResponseCode())
            : error instanceof MQClientException ? Integer.valueOf(((MQClientException) error).getResponseCode()) : null;
        Support.print(Support.line("event", "error", "type", error.getClass().getSimpleName(), "code", code, "message", error.getMessage()));
    }

    // ---- receive and member ----

    private int receive() throws Exception {
        int count = options.number("count", 1);
        AtomicInteger accepted = new AtomicInteger();
        DefaultMQPushConsumer consumer = subscribed(message -> {
            boolean accept = message.getReconsumeTimes() >= options.number("fail", 0);
            if (accept) {
                accepted.incrementAndGet();
            }
            return accept;
        });
        consumer.start();
        Support.print(Support.line("event", "started"));
        long end = System.currentTimeMillis() + options.number("timeout", 30) * 1000L;
        while (accepted.get() < count && System.currentTimeMillis() < end) {
            TimeUnit.MILLISECONDS.sleep(POLL_MILLIS);
        }
        TimeUnit.MILLISECONDS.sleep(options.number("linger", 0));
        consumer.shutdown();
        return accepted.get() >= count ? 0 : FEWER_MESSAGES;
    }

    private int member() throws Exception {
        DefaultMQPushConsumer consumer = subscribed(message -> true);
        consumer.start();
        Support.print(Support.line("event", "started"));
        Thread clean = new Thread(consumer::shutdown);
        Runtime.getRuntime().addShutdownHook(clean);
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        long end = System.currentTimeMillis() + options.number("seconds", 30) * 1000L;
        List<String> before = null;
        while (System.currentTimeMillis() < end && !(input.ready() && "quit".equals(input.readLine()))) {
            List<String> held = heldQueues(consumer);
            if (!held.equals(before)) {
                Support.print(Support.line("event", "queues", "queues", held));
                before = held;
            }
            TimeUnit.MILLISECONDS.sleep(POLL_MILLIS);
        }
        Runtime.getRuntime().removeShutdownHook(clean);
        consumer.shutdown();
        return 0;
    }

    /** The queues of the topic that this member holds, as sorted {@code broker:queueId}; retry queues are left out. */
    private List<String> heldQueues(DefaultMQPushConsumer consumer) {
        List<String> held = new ArrayList<>();
        for (MessageQueue queue : consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet()) {
            if (queue.getTopic().endsWith(options.required("topic"))) {
                held.add(queue.getBrokerName() + ":" + queue.getQueueId());
            }
        }
        held.sort(null);
        return held;
    }

    private DefaultMQPushConsumer subscribed(Predicate<MessageExt> accept) throws MQClientException {
        DefaultMQPushConsumer consumer = options.consumer(options.required("group"));
        if (options.flag("broadcasting")) {
            consumer.setMessageModel(MessageModel.BROADCASTING);
        }
        if (options.has("max_reconsume")) {
            consumer.setMaxReconsumeTimes(options.number("max_reconsume", 16));
        }
        MessageSelector filter = options.has("sql")
            ? MessageSelector.bySql(options.required("sql")) : MessageSelector.byTag(options.text("expression", "*"));
        consumer.subscribe(options.required("topic"), filter);
        if (options.flag("orderly")) {
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) ->
                take(messages, accept) ? ConsumeOrderlyStatus.SUCCESS : ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT);
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) ->
                take(messages, accept) ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS : ConsumeConcurrentlyStatus.RECONSUME_LATER);
        }
        return consumer;
    }

    private static boolean take(List<MessageExt> messages, Predicate<MessageExt> accept) {
        boolean all = true;
        for (MessageExt message : messages) {
            printMessage(message);
            all &= accept.test(message);
        }
        return all;
    }

    private static void printMessage(MessageExt message) {
        String offsetMsgId = message instanceof MessageClientExt ? ((MessageClientExt) message).getOffsetMsgId() : message.getMsgId();
        Map<String, String> properties = message.getProperties();
        Support.print(Support.line("event", "message", "msgId", message.getMsgId(), "offsetMsgId", offsetMsgId, "topic", message.getTopic(),
            "tags", message.getTags(), "keys", keys(message), "properties", properties,
            "body", Base64.getEncoder().encodeToString(message.getBody() == null ? new byte[0] : message.getBody()),
            "queueId", message.getQueueId(), "queueOffset", message.getQueueOffset(), "reconsumeTimes", message.getReconsumeTimes(),
            "sysFlag", message.getSysFlag(), "bornTimestamp", message.getBornTimestamp(), "storeTimestamp", message.getStoreTimestamp(),
            "transactionId", message.getTransactionId()));
    }

    private static List<String> keys(MessageExt message) {
        return message.getKeys() == null || message.getKeys().isEmpty()
            ? null : Arrays.asList(message.getKeys().split(MessageConst.KEY_SEPARATOR));
    }
}
