// The official SDK for Node, driven by lines of JSON: one command a line, one answer a line.
"use strict";
const readline = require("readline");
const { MQClient, MessageProperties } = require("@aliyunmq/mq-http-sdk");

const { ENDPOINT, ACCESS_KEY, SECRET_KEY, SECURITY_TOKEN, INSTANCE } = process.env;
const client = new MQClient(ENDPOINT, ACCESS_KEY, SECRET_KEY, SECURITY_TOKEN);

const calls = {
  async publish({ topic, body, tag, key, sharding_key, delivery_time, properties }) {
    const own = new MessageProperties();
    own.messageKey(key);
    own.shardingKey(sharding_key);
    own.startDeliverTime(delivery_time);
    Object.entries(properties || {}).forEach(([name, value]) => own.putProperty(name, value));
    const stored = await client.getProducer(INSTANCE, topic).publishMessage(body, tag, own);
    return stored.body.MessageId;
  },
  async consume({ topic, group, tag, count = 16, wait = 3, ordered = false }) {
    const consumer = client.getConsumer(INSTANCE, topic, group, tag);
    const answer = await (ordered ? consumer.consumeMessageOrderly(count, wait) : consumer.consumeMessage(count, wait));
    return answer.body.map((message) => ({
      id: message.MessageId,
      body: message.MessageBody,
      tag: message.MessageTag,
      key: message.MessageKey,
      sharding_key: message.ShardingKey,
      delivery_time: message.StartDeliverTime,
      times: Number(message.ConsumedTimes),
      properties: message.Properties,
      receipt: message.ReceiptHandle,
    }));
  },
  async ack({ topic, group, receipts }) {
    const answer = await client.getConsumer(INSTANCE, topic, group).ackMessage(receipts);
    return answer.body || null;
  },
};

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { call, ...command } = JSON.parse(line);
    let answer;
    try {
      answer = { result: await calls[call](command) };
    } catch (error) {
      answer = { error: error.Code || error.name, message: error.message };
    }
    console.log(JSON.stringify(answer));
  }
})();
