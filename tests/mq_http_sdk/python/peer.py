"""The official SDK for Python, driven by lines of JSON: one command a line, one answer a line."""
import json
import os
import sys

from mq_http_sdk.mq_client import MQClient
from mq_http_sdk.mq_exception import MQExceptionBase
from mq_http_sdk.mq_producer import TopicMessage

client = MQClient(
    os.environ["ENDPOINT"], os.environ["ACCESS_KEY"], os.environ["SECRET_KEY"], os.environ.get("SECURITY_TOKEN", "")
)
INSTANCE = os.environ["INSTANCE"]


def publish(topic, body, tag="", key=None, sharding_key=None, delivery_time=None, properties=None):
    message = TopicMessage(body, tag)
    if key:
        message.set_message_key(key)
    if sharding_key:
        message.set_sharding_key(sharding_key)
    if delivery_time:
        message.set_start_deliver_time(delivery_time)
    for name, value in (properties or {}).items():
        message.put_property(name, value)
    return client.get_producer(INSTANCE, topic).publish_message(message).message_id


def consume(topic, group, tag="", count=16, wait=3, ordered=False):
    consumer = client.get_consumer(INSTANCE, topic, group, tag)
    receive = consumer.consume_message_orderly if ordered else consumer.consume_message
    return [
        {
            "id": message.message_id,
            "body": message.message_body,
            "tag": message.message_tag,
            "key": message.get_message_key(),
            "sharding_key": message.get_sharding_key(),
            "delivery_time": message.get_start_deliver_time(),
            "times": message.consumed_times,
            "properties": message.properties,
            "receipt": message.receipt_handle,
        }
        for message in receive(count, wait)
    ]


def ack(topic, group, receipts):
    client.get_consumer(INSTANCE, topic, group).ack_message(receipts)


CALLS = {"publish": publish, "consume": consume, "ack": ack}
for line in sys.stdin:
    command = json.loads(line)
    try:
        answer = {"result": CALLS[command.pop("call")](**command)}
    except MQExceptionBase as error:
        answer = {"error": error.type, "message": error.message, "refused": getattr(error, "sub_errors", None)}
    print(json.dumps(answer), flush=True)
