//! Messages as the protocol carries them: a body that is text, a tag, and properties as `name:value|name:value`.

use crate::rocketmq::Properties;
use bytestring::ByteString;

use bytes::Bytes;

use super::xml::{self, Element};
use crate::rocketmq::{Delay, Error, ErrorKind, Message, ReceivedMessage, Result};

const KEYS: &str = "KEYS";
const SHARDING_KEY: &str = "__SHARDINGKEY";
const DELIVERY_TIME: &str = "__STARTDELIVERTIME";

/// What separates properties, and what the SDKs refuse besides: the service does not unescape it.
const FORBIDDEN: [char; 7] = [':', '|', '"', '&', '\'', '<', '>'];

/// A message that was received, and what acknowledges it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The message. It has no broker and no place in a queue: their names are empty and their numbers -1.
    pub message: ReceivedMessage,
    /// What acknowledges it, once.
    pub receipt: String,
    /// When it comes again unless it is acknowledged, milliseconds since the Unix epoch by the service's clock.
    pub next_consume_millis: i64,
}

/// The body of a publication.
///
/// # Errors
/// [`ErrorKind::InvalidMessage`] that names what the protocol cannot carry.
pub fn encode(message: &Message) -> Result<String> {
    let body = std::str::from_utf8(&message.body).map_err(|error| {
        let remedy = "send text, for instance base64, or use accessProto: tcp, which carries all bytes";
        invalid(format!("body: is no UTF-8 text: {error}"), remedy)
    })?;
    if body.is_empty() {
        return Err(invalid("body: is empty".to_owned(), "send at least one character: an empty body is not taken"));
    }
    let properties = properties(message)?;
    // The order is that of the SDK for Python.
    let fields = [("MessageBody", Some(body)), ("Properties", Some(properties.as_str()))];
    let fields = fields.into_iter().chain([("MessageTag", message.tag.as_deref())]);
    let fields: Vec<_> =
        fields.filter_map(|(name, text)| Some((name, text.filter(|text| !text.is_empty())?))).collect();
    xml::document("Message", &fields)
}

fn properties(message: &Message) -> Result<String> {
    let mut pairs: Vec<(&str, String)> = Vec::new();
    if !message.keys.is_empty() {
        pairs.push((KEYS, message.keys.join(" ")));
    }
    pairs.extend(message.sharding_key.as_ref().map(|key| (SHARDING_KEY, key.to_string())));
    match message.delay {
        Some(Delay::At(millis)) => pairs.push((DELIVERY_TIME, millis.to_string())),
        Some(Delay::After(wait)) => {
            let at =
                i128::from(jiff::Timestamp::now().as_millisecond()) + i128::try_from(wait.as_millis()).unwrap_or(0);
            pairs.push((DELIVERY_TIME, at.to_string()));
        }
        Some(Delay::Level(level)) => {
            let remedy = "send rocketmq-delivery-time instead, a time in milliseconds since the Unix epoch or RFC 3339";
            return Err(invalid(format!("delay: level {level} is not known to the HTTP protocol"), remedy));
        }
        None => {}
    }
    for (name, value) in &pairs {
        if value.contains(FORBIDDEN) {
            let field = if *name == KEYS { "keys" } else { "sharding key" };
            let remedy = "leave out the characters : | \" & ' < >, which separate properties, or use accessProto: tcp";
            return Err(invalid(format!("{field}: {value:?} cannot be carried by the HTTP protocol"), remedy));
        }
    }
    // A property that cannot be carried is left out: callers give none but the trace context, which must not break a call.
    let carried = message.properties.iter().filter(|(name, value)| {
        !name.is_empty() && !value.is_empty() && !name.contains(FORBIDDEN) && !value.contains(FORBIDDEN)
    });
    pairs.extend(carried.map(|(name, value)| (&**name, value.to_string())));
    Ok(pairs.into_iter().map(|(name, value)| format!("{name}:{value}|")).collect())
}

/// The messages of a poll's answer.
///
/// # Errors
/// [`ErrorKind::Protocol`]: a message lacks what every message has.
pub fn decode(topic: &str, answer: &Element) -> Result<Vec<Received>> {
    let messages = answer.children.iter().filter(|child| child.name == "Message");
    messages.map(|message| decode_one(topic, message)).collect()
}

fn decode_one(topic: &str, element: &Element) -> Result<Received> {
    let text = |name: &str| element.get(name).ok_or_else(|| missing(name, "is missing"));
    let number = |name: &str| {
        let value = text(name)?;
        value.trim().parse::<i64>().map_err(|_| missing(name, &format!("{value:?} is no number")))
    };
    let mut user = Properties::new();
    let mut system = Properties::new();
    for pair in element.get("Properties").unwrap_or_default().split('|') {
        if let Some((name, value)) = pair.split_once(':').filter(|(name, _)| !name.is_empty()) {
            let kind = if name == KEYS || name.starts_with("__") { &mut system } else { &mut user };
            kind.insert(name, value);
        }
    }
    let keys = system.remove(KEYS).unwrap_or_default().split_whitespace().map(ByteString::from).collect();
    let deliveries = i32::try_from(number("ConsumedTimes")?).unwrap_or(i32::MAX);
    let published = number("PublishTime")?;
    Ok(Received {
        receipt: text("ReceiptHandle")?.to_owned(),
        next_consume_millis: number("NextConsumeTime")?,
        message: ReceivedMessage {
            topic: topic.into(),
            message_id: text("MessageId")?.into(),
            broker_name: ByteString::new(),
            queue_id: -1,
            queue_offset: -1,
            commit_log_offset: -1,
            body: Bytes::from(text("MessageBody")?.to_owned()),
            tag: element.get("MessageTag").filter(|tag| !tag.is_empty()).map(ByteString::from),
            keys,
            sharding_key: system.get(SHARDING_KEY).cloned(),
            properties: user,
            system_properties: system,
            born_timestamp: published,
            born_host: None,
            store_timestamp: published,
            store_host: None,
            reconsume_times: deliveries.saturating_sub(1).max(0),
            sys_flag: 0,
            flag: 0,
        },
    })
}

fn missing(name: &str, why: &str) -> Error {
    let remedy = "check that endpoint is the HTTP endpoint of the instance: it answered something else";
    Error::with_remedy(ErrorKind::Protocol, format!("a message of the answer: {name} {why}"), Some(remedy.to_owned()))
}

fn invalid(message: String, remedy: &str) -> Error {
    Error::with_remedy(ErrorKind::InvalidMessage, message, Some(remedy.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_written_as_the_sdk_writes_it() {
        let message = Message::new("t", "{\"a\":1}")
            .with_tag("tag")
            .with_key("k1")
            .with_key("k2")
            .with_sharding_key("s")
            .with_delay(Delay::At(9))
            .with_property("traceparent", "00-1-2-01")
            .with_property("tracestate", "a=b:c");
        assert_eq!(
            encode(&message).unwrap(),
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><Message xmlns=\"http://mq.aliyuncs.com/doc/v1/\">\
             <MessageBody>{&quot;a&quot;:1}</MessageBody>\
             <Properties>KEYS:k1 k2|__SHARDINGKEY:s|__STARTDELIVERTIME:9|traceparent:00-1-2-01|</Properties>\
             <MessageTag>tag</MessageTag></Message>"
        );
    }

    #[test]
    fn what_cannot_be_carried_is_refused_with_a_remedy() {
        let table = [
            (Message::new("t", vec![0xff_u8]), "body: is no UTF-8 text"),
            (Message::new("t", ""), "body: is empty"),
            (Message::new("t", "\u{0}"), "MessageBody: holds U+0000"),
            (Message::new("t", "x").with_key("a:b"), "keys: \"a:b\""),
            (Message::new("t", "x").with_sharding_key("a|b"), "sharding key: \"a|b\""),
            (Message::new("t", "x").with_delay(Delay::Level(3)), "delay: level 3"),
        ];
        for (message, expected) in table {
            let error = encode(&message).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
            assert_eq!(error.kind(), ErrorKind::InvalidMessage);
            assert!(!error.remedy().is_empty());
        }
    }

    #[test]
    fn a_received_message_has_what_the_answer_has() {
        let text = "<Messages><Message><MessageId>id</MessageId><MessageBody>b</MessageBody><ReceiptHandle>r</ReceiptHandle>\
                    <PublishTime>5</PublishTime><FirstConsumeTime>6</FirstConsumeTime><NextConsumeTime>7</NextConsumeTime>\
                    <ConsumedTimes>3</ConsumedTimes><MessageTag>t</MessageTag>\
                    <Properties>KEYS:k1 k2|__SHARDINGKEY:s|own:v:w|broken|</Properties></Message></Messages>";
        let received = decode("orders", &xml::parse(text.as_bytes()).unwrap()).unwrap().remove(0);
        let message = &received.message;
        assert_eq!((received.receipt.as_str(), received.next_consume_millis), ("r", 7));
        assert_eq!((&*message.topic, &*message.message_id, &message.body[..]), ("orders", "id", &b"b"[..]));
        assert_eq!((message.tag.as_deref(), message.sharding_key.as_deref()), (Some("t"), Some("s")));
        assert_eq!((message.keys.as_slice(), message.reconsume_times), (&["k1".into(), "k2".into()][..], 2));
        assert_eq!(message.properties, Properties::from([("own", "v:w")]));
        let broken = xml::parse(b"<Messages><Message><MessageId>id</MessageId></Message></Messages>").unwrap();
        assert_eq!(decode("orders", &broken).unwrap_err().kind(), ErrorKind::Protocol);
    }
}
