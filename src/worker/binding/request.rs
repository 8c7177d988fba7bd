//! The metadata of a `create`: which topics, tag, keys, sharding key and delay it asks for.

use bytestring::ByteString;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::trace::TraceContext;
use crate::rocketmq::{Delay, Message};
use crate::worker_config::binding::{BindingConfig, DataEncoding};

/// The key of Dapr's page for the topics of one request, separated by commas.
pub const TOPICS: &str = "topics";
/// The key of Dapr's code for the topic of one request; it wins over [`TOPICS`].
pub const TOPIC: &str = "rocketmq-topic";
/// Tag of the message.
pub const TAG: &str = "rocketmq-tag";
/// Keys of the message, separated by blanks.
pub const KEY: &str = "rocketmq-key";
/// Messages with one sharding key go to one queue, in order.
pub const SHARDING_KEY: &str = "rocketmq-shardingkey";
/// The broker's delay level, 1 to 18.
pub const DELAY_LEVEL: &str = "rocketmq-delay-level";
/// When the message is to be delivered: milliseconds since the Unix epoch or RFC 3339 (RocketMQ 5).
pub const DELIVERY_TIME: &str = "rocketmq-delivery-time";

/// How `data` becomes the body of the message: json, text or base64; the binding's own choice without it.
pub const DATA_ENCODING: &str = "rocketmq-data-encoding";

const KNOWN: [&str; 7] = [TOPIC, TAG, KEY, SHARDING_KEY, DELAY_LEVEL, DELIVERY_TIME, DATA_ENCODING];
/// Topics of one request, the same bound as the binding's own list has.
const MAX_TOPICS: usize = 1_000;

/// What one request asks for, apart from its body.
#[derive(Debug, Default, PartialEq)]
pub struct Publication {
    topics: Vec<Target>,
    tag: Option<ByteString>,
    keys: Vec<ByteString>,
    sharding_key: Option<ByteString>,
    delay: Option<Delay>,
    trace: TraceContext,
    /// How `data` becomes the body; none leaves it to the binding.
    pub encoding: Option<DataEncoding>,
}

/// A topic to publish to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub topic: String,
    /// The expression after `||`, which must be one tag.
    expression: Option<String>,
}

/// A request that cannot be carried out as it stands.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Neither the binding nor the request names a topic.
    #[error("no topic: set spec.topics of the binding, or send metadata \"{TOPICS}\" or \"{TOPIC}\"")]
    NoTopic,
    /// A metadata entry cannot be understood.
    #[error("metadata {key}: {value:?} cannot be used: {why}")]
    Metadata {
        /// Its key.
        key: String,
        /// Its value.
        value: String,
        /// What to send instead.
        why: String,
    },
    /// A topic's expression stands for several tags, and a message has one.
    #[error("topic {topic}: its expression {expression:?} is not one tag; send metadata \"{TAG}\" to choose one")]
    SeveralTags {
        /// The topic.
        topic: String,
        /// Its expression.
        expression: String,
    },
    /// The body should be base64 and is not.
    #[error(
        "data is no base64: {0}; send a JSON string with standard base64, or metadata \"{DATA_ENCODING}\": \"json\" to store \
         data as it is"
    )]
    Base64(String),
    /// An acknowledgement names nothing.
    #[error(
        "no receipts: send data {{\"receipts\": [\"…\"]}} with those that read has given, or metadata \"receipts\""
    )]
    NoReceipts,
}

impl Publication {
    /// Reads the metadata of a request. Keys that do not start with `rocketmq-` and are not `topics` are of no interest
    /// here and ignored, as daprd does; an unknown `rocketmq-` key is refused, since it is a slip of the pen.
    ///
    /// # Errors
    /// An unknown `rocketmq-` key, or a value that cannot be used.
    pub fn parse(metadata: &BTreeMap<String, String>, trace: TraceContext) -> Result<Self, Invalid> {
        if let Some((key, value)) =
            metadata.iter().find(|(key, _)| key.starts_with("rocketmq-") && !KNOWN.contains(&key.as_str()))
        {
            return Err(invalid(key, value, format!("the key is not known; known are {TOPICS}, {}", KNOWN.join(", "))));
        }
        let get = |key: &str| metadata.get(key).map(|value| value.trim()).filter(|value| !value.is_empty());
        let topics = match (get(TOPIC), get(TOPICS)) {
            (Some(topic), _) => parse_topics(TOPIC, topic)?,
            (None, Some(topics)) => parse_topics(TOPICS, topics)?,
            (None, None) => Vec::new(),
        };
        Ok(Self {
            topics,
            tag: get(TAG).map(ByteString::from),
            keys: get(KEY).map(|keys| keys.split_whitespace().map(ByteString::from).collect()).unwrap_or_default(),
            sharding_key: get(SHARDING_KEY).map(ByteString::from),
            delay: parse_delay(get(DELAY_LEVEL), get(DELIVERY_TIME))?,
            trace,
            encoding: get(DATA_ENCODING).map(parse_encoding).transpose()?,
        })
    }

    /// A publication to the binding's own topics.
    #[must_use]
    pub fn traced(trace: TraceContext) -> Self {
        Self { trace, ..Self::default() }
    }

    /// The topics to publish to: the request's, else the binding's.
    ///
    /// # Errors
    /// There is none, or one has an expression that is not one tag while the request names no tag.
    pub fn targets(&self, binding: &BindingConfig) -> Result<Vec<Target>, Invalid> {
        let configured = || {
            let topics = binding.topics.iter();
            topics.map(|topic| Target { topic: topic.topic.clone(), expression: topic.expression.clone() }).collect()
        };
        let mut targets = if self.topics.is_empty() { configured() } else { self.topics.clone() };
        for target in &mut targets {
            target.expression = target.expression.take().filter(|expression| !matches!(expression.as_str(), "*" | ""));
            if let (None, Some(expression)) = (&self.tag, target.expression.as_ref().filter(|text| text.contains("||")))
            {
                return Err(Invalid::SeveralTags { topic: target.topic.clone(), expression: expression.clone() });
            }
        }
        if targets.is_empty() { Err(Invalid::NoTopic) } else { Ok(targets) }
    }

    /// The message for one topic.
    #[must_use]
    pub fn message(&self, target: &Target, body: Bytes) -> Message {
        let mut message = Message::new(target.topic.clone(), body);
        message.tag = self.tag.clone().or_else(|| target.expression.as_deref().map(ByteString::from));
        message.keys.clone_from(&self.keys);
        message.sharding_key.clone_from(&self.sharding_key);
        message.delay.clone_from(&self.delay);
        self.trace.store(&mut message.properties);
        message
    }
}

fn parse_topics(key: &str, value: &str) -> Result<Vec<Target>, Invalid> {
    let mut targets: Vec<Target> = Vec::new();
    for item in value.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let (topic, expression) = match item.split_once("||") {
            Some((topic, expression)) => (topic.trim(), Some(expression.trim().to_owned())),
            None => (item, None),
        };
        if topic.is_empty() {
            return Err(invalid(key, value, "write topic or topic||tag, several separated by commas".to_owned()));
        }
        let target = Target { topic: topic.to_owned(), expression };
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    if targets.len() > MAX_TOPICS {
        return Err(invalid(
            key,
            &format!("{} topics", targets.len()),
            format!("send at most {MAX_TOPICS} in one request"),
        ));
    }
    Ok(targets)
}

fn parse_delay(level: Option<&str>, time: Option<&str>) -> Result<Option<Delay>, Invalid> {
    match (level, time) {
        (None, None) => Ok(None),
        (Some(level), None) => match level.parse() {
            Ok(level @ 1..=18) => Ok(Some(Delay::Level(level))),
            _ => Err(invalid(DELAY_LEVEL, level, "send a number from 1 to 18".to_owned())),
        },
        (None, Some(time)) => {
            let millis =
                time.parse::<i64>().ok().or_else(|| Some(time.parse::<jiff::Timestamp>().ok()?.as_millisecond()));
            let why = "send milliseconds since the Unix epoch, or a time such as 2030-01-31T12:00:00Z";
            millis
                .filter(|millis| *millis > 0)
                .map(|millis| Some(Delay::At(millis)))
                .ok_or_else(|| invalid(DELIVERY_TIME, time, why.to_owned()))
        }
        (Some(level), Some(_)) => Err(invalid(DELAY_LEVEL, level, format!("send it or {DELIVERY_TIME}, not both"))),
    }
}

fn parse_encoding(text: &str) -> Result<DataEncoding, Invalid> {
    match text.to_ascii_lowercase().as_str() {
        "json" => Ok(DataEncoding::Json),
        "text" => Ok(DataEncoding::Text),
        "base64" => Ok(DataEncoding::Base64),
        _ => Err(invalid(DATA_ENCODING, text, "send json, text or base64".to_owned())),
    }
}

fn invalid(key: &str, value: &str, why: String) -> Invalid {
    Invalid::Metadata { key: key.to_owned(), value: value.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker_config::binding::TopicConfig;
    use crate::worker_config::connection::ClusterConfig;

    fn parse(pairs: &[(&str, &str)]) -> Result<Publication, Invalid> {
        let metadata = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Publication::parse(&metadata, TraceContext::default())
    }

    fn binding(topics: &[(&str, Option<&str>)]) -> BindingConfig {
        let topic = |(topic, expression): &(&str, Option<&str>)| TopicConfig {
            topic: (*topic).to_owned(),
            expression: expression.map(str::to_owned),
        };
        BindingConfig {
            name: "b".into(),
            cluster: ClusterConfig::default(),
            http_endpoint: None,
            topics: topics.iter().map(topic).collect(),
            group: "g".into(),
            retries: 3,
            input: None,
            output: None,
        }
    }

    #[test]
    fn topics_of_the_request_win_over_the_bindings() {
        let names = |pairs: &[(&str, &str)]| -> Vec<String> {
            let targets = parse(pairs).unwrap().targets(&binding(&[("T1", None)])).unwrap();
            targets.into_iter().map(|target| target.topic).collect()
        };
        assert_eq!(names(&[]), ["T1"]);
        assert_eq!(names(&[("topics", "A, B,,A")]), ["A", "B"]);
        assert_eq!(names(&[("topics", "A"), ("rocketmq-topic", "C")]), ["C"]);
        assert_eq!(parse(&[]).unwrap().targets(&binding(&[])), Err(Invalid::NoTopic));
    }

    #[test]
    fn one_tag_comes_from_the_expression_and_several_need_a_choice() {
        let tag = |pairs: &[(&str, &str)], expression| {
            let (publication, binding) = (parse(pairs).unwrap(), binding(&[("T", Some(expression))]));
            let targets = publication.targets(&binding)?;
            Ok::<_, Invalid>(publication.message(&targets[0], Bytes::new()).tag)
        };
        assert_eq!(tag(&[], "a").unwrap().as_deref(), Some("a"));
        assert_eq!(tag(&[], "*").unwrap(), None);
        assert_eq!(tag(&[("rocketmq-tag", "c")], "a||b").unwrap().as_deref(), Some("c"));
        assert!(tag(&[], "a||b").unwrap_err().to_string().contains("rocketmq-tag"));
    }

    #[test]
    fn keys_have_no_stray_blanks_and_unknown_keys_are_named() {
        assert_eq!(parse(&[("rocketmq-key", " k1  k2 ")]).unwrap().keys, ["k1", "k2"]);
        let error = parse(&[("rocketmq-tags", "x")]).unwrap_err().to_string();
        assert!(error.contains("rocketmq-tags") && error.contains("rocketmq-tag,"), "{error}");
        assert!(parse(&[("ttlInSeconds", "5")]).is_ok());
        assert_eq!(parse(&[(DATA_ENCODING, "Base64")]).unwrap().encoding, Some(DataEncoding::Base64));
        assert!(parse(&[(DATA_ENCODING, "hex")]).unwrap_err().to_string().contains("json, text or base64"));
    }

    #[test]
    fn delays_are_read_and_bounded() {
        let delay = |pairs: &[(&str, &str)]| parse(pairs).map(|publication| publication.delay);
        assert_eq!(delay(&[(DELAY_LEVEL, "3")]), Ok(Some(Delay::Level(3))));
        assert_eq!(delay(&[(DELIVERY_TIME, "1893499200000")]), Ok(Some(Delay::At(1_893_499_200_000))));
        assert_eq!(delay(&[(DELIVERY_TIME, "2030-01-01T12:00:00Z")]), Ok(Some(Delay::At(1_893_499_200_000))));
        for pairs in [
            &[(DELAY_LEVEL, "0")][..],
            &[(DELAY_LEVEL, "19")],
            &[(DELIVERY_TIME, "soon")],
            &[(DELAY_LEVEL, "1"), (DELIVERY_TIME, "9")],
        ] {
            assert!(delay(pairs).is_err(), "{pairs:?}");
        }
    }
}
