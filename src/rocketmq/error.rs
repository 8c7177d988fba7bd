//! One error type for the layer: what happened, the broker's own words, and what to do about it.

use std::sync::Arc;

use super::wire::codes::response;

/// Result of this layer.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure an [`Error`] is; callers branch on this, never on texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A value of the configuration cannot be used.
    InvalidConfig,
    /// No name server answered.
    NameServerUnreachable,
    /// A TCP connection could not be opened.
    Connect,
    /// A connection ended while a request was waiting; the request may or may not have been carried out.
    ConnectionLost,
    /// The TLS handshake failed.
    Tls,
    /// No answer within the time limit; the request may or may not have been carried out.
    Timeout,
    /// The topic has no route, or the broker does not know it.
    TopicNotFound,
    /// The consumer group does not exist and the broker does not create it.
    GroupNotFound,
    /// The credentials are missing, wrong, or do not permit the operation.
    AccessDenied,
    /// The broker refuses the message or the request as malformed.
    InvalidMessage,
    /// The message is larger than the broker or this client allows.
    MessageTooLarge,
    /// The broker is alive but does not take the request now.
    BrokerBusy,
    /// Another answer of the broker.
    Broker,
    /// Bytes that are not RocketMQ's protocol.
    Protocol,
    /// The client, producer or consumer has been shut down.
    Closed,
}

/// A failure of this layer. Cheap to clone: a batch gives the same error to each of its messages.
#[derive(Debug, Clone)]
pub struct Error(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    code: Option<i32>,
    remark: Option<String>,
    subject: Option<String>,
    remedy: Option<String>,
}

impl Error {
    /// An error of the given kind; `message` says what was tried and what came back.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::with_remedy(kind, message, None)
    }

    /// As [`Error::new`], with a remedy that is better than the kind's.
    pub(crate) fn with_remedy(kind: ErrorKind, message: impl Into<String>, remedy: Option<String>) -> Self {
        Self(Arc::new(Inner { kind, message: message.into(), code: None, remark: None, subject: None, remedy }))
    }

    /// An error from a broker's or name server's response code. `subject` is the topic, group or message concerned.
    pub(crate) fn from_response(code: i32, remark: &str, peer: &str, subject: &str) -> Self {
        let kind = kind_of(code, remark);
        let name = response::name(code);
        let words = if remark.is_empty() { "no remark" } else { remark };
        Self(Arc::new(Inner {
            kind,
            message: format!("{peer} answered {name} ({code}) for {subject}: {words}"),
            code: Some(code),
            remark: Some(remark.to_owned()),
            subject: Some(subject.to_owned()),
            remedy: None,
        }))
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The response code, when a broker or name server answered.
    #[must_use]
    pub fn broker_code(&self) -> Option<i32> {
        self.0.code
    }

    /// The server's own words, when it answered.
    #[must_use]
    pub fn remark(&self) -> Option<&str> {
        self.0.remark.as_deref()
    }

    /// Whether the same request may succeed later without a change by the user.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        use ErrorKind as K;
        match self.0.kind {
            K::NameServerUnreachable | K::Connect | K::ConnectionLost | K::Timeout | K::BrokerBusy => true,
            K::Broker => self
                .0
                .code
                .is_some_and(|code| code == response::SYSTEM_ERROR || code == response::SERVICE_NOT_AVAILABLE),
            K::TopicNotFound => true,
            _ => false,
        }
    }

    /// CamelCase name of the failure, usable as a condition's reason and a metric label.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        use ErrorKind as K;
        match self.0.kind {
            K::InvalidConfig => "InvalidConfig",
            K::NameServerUnreachable => "NameServerUnreachable",
            K::Connect => "BrokerUnreachable",
            K::ConnectionLost => "ConnectionLost",
            K::Tls => "TlsFailed",
            K::Timeout => "Timeout",
            K::TopicNotFound => "TopicNotFound",
            K::GroupNotFound => "GroupNotFound",
            K::AccessDenied => "AccessDenied",
            K::InvalidMessage => "InvalidMessage",
            K::MessageTooLarge => "MessageTooLarge",
            K::BrokerBusy => "BrokerBusy",
            K::Broker => "BrokerError",
            K::Protocol => "ProtocolError",
            K::Closed => "Closed",
        }
    }

    /// What a user should do about it, in plain words.
    #[must_use]
    pub fn remedy(&self) -> String {
        use ErrorKind as K;
        if let Some(remedy) = &self.0.remedy {
            return remedy.clone();
        }
        let subject = self.0.subject.as_deref().unwrap_or("it");
        match self.0.kind {
            K::InvalidConfig => "correct the value named in the message".into(),
            K::NameServerUnreachable => {
                "check that the name server addresses are right, that the name servers run, and that a NetworkPolicy or firewall lets port 9876 through".into()
            }
            K::Connect => "check that the broker runs and that the address it advertises (brokerIP1 and listenPort) is reachable from here; else map it with brokerAddresses".into(),
            K::ConnectionLost => "check whether the broker was restarted or a network device ends idle connections; the operation is tried again".into(),
            K::Tls => "check that the server speaks TLS on this port, that tls.ca holds the authority that signed its certificate, and that tls.serverName matches a name in it".into(),
            K::Timeout => "check the load of the broker and the network between here and there; the operation is tried again".into(),
            K::TopicNotFound => format!("create the topic ({subject}), for instance with: mqadmin updateTopic -n NAME_SERVER -c CLUSTER -t TOPIC; or set autoCreateTopicEnable=true on the brokers"),
            K::GroupNotFound => format!("create the consumer group ({subject}), for instance with: mqadmin updateSubGroup -n NAME_SERVER -c CLUSTER -g GROUP; or set autoCreateSubscriptionGroup=true on the brokers"),
            K::AccessDenied => "check accessKey and secretKey, and that this user may use the topic and the consumer group (ACL of the broker)".into(),
            K::InvalidMessage if self.0.code.is_some() => {
                "correct the topic name, properties or message named in the broker's words".into()
            }
            K::InvalidMessage => "correct the topic name, properties or body as the message says".into(),
            K::MessageTooLarge => "send a smaller message, or raise maxMessageSize on the brokers".into(),
            K::BrokerBusy => "the broker sheds load: lower the rate, or look at its disk and at sendThreadPoolQueue; the operation is tried again".into(),
            K::Broker => "read the broker's words in the message and its log".into(),
            K::Protocol => "check that the address is a RocketMQ remoting port (9876 of a name server, 10911 of a broker), not the gRPC proxy".into(),
            K::Closed => "the process is shutting down; send again to another one".into(),
        }
    }
}

fn kind_of(code: i32, remark: &str) -> ErrorKind {
    use ErrorKind as K;
    match code {
        response::SYSTEM_BUSY | response::SERVICE_NOT_AVAILABLE => K::BrokerBusy,
        response::TOPIC_NOT_EXIST => K::TopicNotFound,
        response::SUBSCRIPTION_GROUP_NOT_EXIST => K::GroupNotFound,
        response::NO_PERMISSION => K::AccessDenied,
        response::MESSAGE_ILLEGAL if remark.contains("size") || remark.contains("length") => K::MessageTooLarge,
        response::MESSAGE_ILLEGAL | response::INVALID_PARAMETER | response::SUBSCRIPTION_PARSE_FAILED => {
            K::InvalidMessage
        }
        // ACL failures of 4.x brokers arrive as a system error that names the exception
        response::SYSTEM_ERROR if remark.contains("AclException") || remark.contains("CODE: 16") => K::AccessDenied,
        _ => K::Broker,
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::super::message::{Message, Outgoing};
    use super::*;

    #[test]
    fn response_errors_carry_the_brokers_words_and_a_remedy() {
        let error = Error::from_response(17, "topic[orders] not exist", "127.0.0.1:10911", "topic orders");
        assert_eq!(error.kind(), ErrorKind::TopicNotFound);
        assert_eq!(error.broker_code(), Some(17));
        assert!(error.to_string().contains("TOPIC_NOT_EXIST (17)"), "{error}");
        assert!(error.to_string().contains("topic[orders] not exist"), "{error}");
        assert!(error.remedy().contains("topic orders"), "{}", error.remedy());
    }

    /// A broker has not been asked then, so nothing is to be read in its words.
    #[test]
    fn what_is_refused_before_it_is_sent_says_what_is_wrong_and_what_to_do() {
        let refused = |topic: &str, body: &'static str| {
            let message = Message::new(topic, body.as_bytes());
            let error = Outgoing::prepare(message, None, 1024, &[]).err().unwrap();
            format!("{}: {error}; {}", error.reason(), error.remedy())
        };
        assert_eq!(
            refused("orders", ""),
            "InvalidMessage: body: is empty, but RocketMQ stores no message without one; \
             give it a body of at least one byte, for instance {}"
        );
        let illegal = refused("bad topic!", "x");
        assert!(illegal.ends_with("; correct the topic name, properties or body as the message says"), "{illegal}");
        let answered = Error::from_response(13, "the message is illegal", "b", "topic t");
        assert!(answered.remedy().contains("the broker's words"), "{}", answered.remedy());
    }

    #[test]
    fn acl_exceptions_of_old_brokers_are_access_errors() {
        let error =
            Error::from_response(1, "org.apache.rocketmq.acl.common.AclException: No accessKey", "b", "topic t");
        assert_eq!(error.kind(), ErrorKind::AccessDenied);
        assert!(!error.is_retriable());
    }
}
