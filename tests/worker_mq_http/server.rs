//! A server that speaks the Aliyun MQ HTTP protocol, with memory instead of a broker: the service itself is in a cloud and
//! cannot be run here. The official SDKs keep it honest: they publish to it, consume and acknowledge, and their requests are
//! compared with the worker's. It signs, reads and writes XML with code of its own, none of it the worker's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, Mac};
use http_body_util::BodyExt;
use md5::{Digest, Md5};
use quick_xml::events::Event;
use sha1::Sha1;
use tokio_util::sync::CancellationToken;

pub const INSTANCE: &str = "MQ_INST_1";
pub const ACCESS_KEY: &str = "the-access-key";
pub const SECRET_KEY: &str = "the-secret-key";

/// Longest difference of clocks that is borne.
const MAX_SKEW_SECONDS: i64 = 15 * 60;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub method: Method,
    /// Path and query.
    pub resource: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Recorded {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    pub fn parameter(&self, name: &str) -> Option<String> {
        let query = self.resource.split_once('?')?.1;
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| decode(value))
    }

    fn topic(&self) -> Option<String> {
        let path = self.resource.split('?').next()?;
        Some(decode(path.strip_prefix("/topics/")?.strip_suffix("/messages")?))
    }
}

/// What is answered instead of the right thing.
#[derive(Debug, Clone)]
pub enum Fault {
    /// A status and a body.
    Answer(u16, &'static str),
    /// The right thing, later.
    Late(Duration),
    /// The right thing is done, and the answer is this.
    Lost(u16, &'static str),
}

type Faults = Box<dyn FnMut(&Recorded) -> Option<Fault> + Send>;

/// A message of a topic.
#[derive(Debug, Clone)]
pub struct Kept {
    pub id: String,
    pub body: String,
    pub tag: Option<String>,
    pub properties: String,
    published: i64,
    deliver_at: i64,
    /// By consumer group.
    groups: BTreeMap<String, Progress>,
}

#[derive(Debug, Clone, Default)]
struct Progress {
    is_done: bool,
    deliveries: u32,
    first_at: i64,
    next_at: i64,
    receipt: String,
}

impl Kept {
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties
            .split('|')
            .filter_map(|pair| pair.split_once(':'))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    pub fn is_done(&self, group: &str) -> bool {
        self.groups.get(group).is_some_and(|progress| progress.is_done)
    }

    pub fn deliveries(&self, group: &str) -> u32 {
        self.groups.get(group).map_or(0, |progress| progress.deliveries)
    }
}

pub struct Inner {
    pub requests: Vec<Recorded>,
    pub topics: BTreeMap<String, Vec<Kept>>,
    /// Access key to secret key and token.
    pub users: BTreeMap<String, (String, Option<String>)>,
    /// Time until a message that is not acknowledged comes again.
    pub invisible: Duration,
    /// Seconds that the server's clock is ahead.
    pub clock: i64,
    pub faults: Option<Faults>,
    next: u64,
}

/// A running server.
#[derive(Clone)]
pub struct Server {
    pub address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    stop: CancellationToken,
}

impl Server {
    pub async fn start(topics: &[&str]) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), topics).await
    }

    pub async fn start_at(address: SocketAddr, topics: &[&str]) -> Self {
        // The one before at this address may not have let go of it yet.
        let started = Instant::now();
        let listener = loop {
            match tokio::net::TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(error) => assert!(started.elapsed() < Duration::from_secs(20), "{address}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let (server, router) = Self::prepare(listener.local_addr().unwrap(), topics);
        let stop = server.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                served = axum::serve(listener, router).into_future() => served.unwrap(),
                () = stop.cancelled() => {}
            }
        });
        server
    }

    /// A server and its routes, for a listener of the caller's.
    pub fn prepare(address: SocketAddr, topics: &[&str]) -> (Self, Router) {
        let inner = Inner {
            requests: Vec::new(),
            topics: topics.iter().map(|topic| ((*topic).to_owned(), Vec::new())).collect(),
            users: BTreeMap::from([(ACCESS_KEY.to_owned(), (SECRET_KEY.to_owned(), None))]),
            invisible: Duration::from_secs(300),
            clock: 0,
            faults: None,
            next: 0,
        };
        let server = Self { address, inner: Arc::new(Mutex::new(inner)), stop: CancellationToken::new() };
        (server.clone(), Router::new().fallback(handle).with_state(server))
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub fn stop(&self) {
        self.stop.cancel();
    }

    pub fn fault(&self, faults: impl FnMut(&Recorded) -> Option<Fault> + Send + 'static) {
        self.lock().faults = Some(Box::new(faults));
    }

    /// The requests of one method that have come, in order.
    pub fn requests(&self, method: &Method) -> Vec<Recorded> {
        self.lock().requests.iter().filter(|request| request.method == *method).cloned().collect()
    }

    pub fn messages(&self, topic: &str) -> Vec<Kept> {
        self.lock().topics.get(topic).cloned().unwrap_or_default()
    }

    /// Stores a message as if it had been published.
    pub fn publish(&self, topic: &str, body: &str) {
        self.lock().store(topic, body.to_owned(), None, String::new());
    }

    /// Whether everything of a topic is acknowledged.
    pub fn all_done(&self, topic: &str, group: &str) -> bool {
        self.messages(topic).iter().all(|message| message.is_done(group))
    }
}

impl Inner {
    fn now(&self) -> i64 {
        jiff::Timestamp::now().as_millisecond() + self.clock * 1_000
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn store(&mut self, topic: &str, body: String, tag: Option<String>, properties: String) -> Option<String> {
        let (now, number) = (self.now(), self.number());
        let id = format!("{number:032X}");
        let mut kept =
            Kept { id: id.clone(), body, tag, properties, published: now, deliver_at: now, groups: BTreeMap::new() };
        if let Some(at) = kept.property("__STARTDELIVERTIME") {
            kept.deliver_at = at.parse().unwrap();
        }
        self.topics.get_mut(topic)?.push(kept);
        Some(id)
    }

    /// Hands messages out: those whose time has come, which nobody has, and with `ordered` none whose sharding key is held.
    fn take(&mut self, topic: &str, group: &str, tags: Option<&str>, count: usize, ordered: bool) -> Option<String> {
        let (now, invisible) = (self.now(), i64::try_from(self.invisible.as_millis()).unwrap());
        let mut next = self.next;
        let wanted: Option<Vec<&str>> =
            tags.filter(|tags| *tags != "*").map(|tags| tags.split("||").map(str::trim).collect());
        let messages = self.topics.get_mut(topic)?;
        let mut held = BTreeSet::new();
        if ordered {
            for message in messages.iter() {
                let progress = message.groups.get(group);
                if progress.is_some_and(|progress| !progress.is_done && progress.next_at > now) {
                    held.insert(message.property("__SHARDINGKEY").unwrap_or_default().to_owned());
                }
            }
        }
        let mut text = String::new();
        let mut left = count;
        for message in messages.iter_mut() {
            let is_wanted =
                wanted.as_ref().is_none_or(|tags| message.tag.as_deref().is_some_and(|tag| tags.contains(&tag)));
            let key = message.property("__SHARDINGKEY").unwrap_or_default().to_owned();
            let progress = message.groups.entry(group.to_owned()).or_default();
            let is_due = message.deliver_at <= now && progress.next_at <= now && !progress.is_done;
            if left == 0 || !is_wanted || !is_due || held.contains(&key) {
                continue;
            }
            (left, next) = (left - 1, next + 1);
            progress.deliveries += 1;
            progress.first_at = if progress.first_at == 0 { now } else { progress.first_at };
            progress.next_at = now + invisible;
            progress.receipt = format!("{}-{next}/+=", message.id);
            let (progress, md5) = (progress.clone(), md5_of(&message.body));
            text.push_str("<Message>");
            let mut element = |name: &str, value: &str| text.push_str(&format!("<{name}>{}</{name}>", escape(value)));
            element("MessageId", &message.id);
            element("MessageBodyMD5", &md5);
            element("MessageBody", &message.body);
            element("ReceiptHandle", &progress.receipt);
            element("PublishTime", &message.published.to_string());
            element("FirstConsumeTime", &progress.first_at.to_string());
            element("NextConsumeTime", &progress.next_at.to_string());
            element("ConsumedTimes", &progress.deliveries.to_string());
            if let Some(tag) = &message.tag {
                element("MessageTag", tag);
            }
            if !message.properties.is_empty() {
                element("Properties", &message.properties);
            }
            text.push_str("</Message>");
        }
        self.next = next;
        (!text.is_empty()).then_some(text)
    }

    /// Acknowledges; gives back the receipts that are not valid.
    fn acknowledge(&mut self, topic: &str, group: &str, receipts: &[String]) -> Vec<String> {
        let now = self.now();
        let messages = self.topics.get_mut(topic).unwrap();
        let refused = receipts.iter().filter(|receipt| {
            let found = messages.iter_mut().find_map(|message| {
                let progress = message.groups.get_mut(group)?;
                (progress.receipt == **receipt && progress.next_at > now && !progress.is_done).then_some(progress)
            });
            found.map(|progress| progress.is_done = true).is_none()
        });
        refused.cloned().collect()
    }
}

async fn handle(State(server): State<Server>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let resource = parts.uri.path_and_query().unwrap().to_string();
    let recorded = Recorded { method: parts.method, resource, headers: parts.headers, body };
    let fault = {
        let mut inner = server.lock();
        inner.requests.push(recorded.clone());
        let mut faults = inner.faults.take();
        drop(inner);
        let fault = faults.as_mut().and_then(|faults| faults(&recorded));
        let mut inner = server.lock();
        inner.faults = inner.faults.take().or(faults);
        fault
    };
    match fault {
        Some(Fault::Answer(status, body)) => return answer(&server, status, body.to_owned()),
        Some(Fault::Late(wait)) => tokio::time::sleep(wait).await,
        Some(Fault::Lost(status, body)) => {
            let _ = respond(&server, &recorded).await;
            return answer(&server, status, body.to_owned());
        }
        None => {}
    }
    respond(&server, &recorded).await
}

async fn respond(server: &Server, request: &Recorded) -> Response<Body> {
    if let Some(refusal) = refusal(server, request) {
        return refusal;
    }
    let topic = request.topic().filter(|topic| server.lock().topics.contains_key(topic));
    let Some(topic) = topic else {
        let missing = request.topic().is_some();
        let code = if missing { "TopicNotExist" } else { "InvalidRequestURL" };
        return error(server, if missing { 404 } else { 400 }, code, "The topic name you provided is not exist.");
    };
    if request.parameter("ns").as_deref() != Some(INSTANCE) {
        return error(server, 404, "TopicNotExist", "The instance you provided is not exist.");
    }
    match request.method {
        Method::POST => publish(server, request, &topic),
        Method::GET => consume(server, request, &topic).await,
        Method::DELETE => acknowledge(server, request, &topic),
        _ => error(server, 405, "InvalidRequestURL", "Http request URL format invalid."),
    }
}

/// Whether who asks may ask: the signature, computed here from the protocol's description.
fn refusal(server: &Server, request: &Recorded) -> Option<Response<Body>> {
    let header = |name: &str| request.header(name);
    if header("x-mq-version") != "2015-06-06" {
        return Some(error(server, 400, "InvalidArgument", "x-mq-version"));
    }
    let Ok(date) = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(header("date")) else {
        return Some(error(server, 400, "InvalidDateHeader", "The Date header format is invalid."));
    };
    let Some((key, signature)) = header("authorization").strip_prefix("MQ ").and_then(|rest| rest.split_once(':'))
    else {
        return Some(error(server, 400, "InvalidAuthorizationHeader", "The Authorization header format is invalid."));
    };
    let Some((secret, token)) = server.lock().users.get(key).cloned() else {
        return Some(error(server, 403, "InvalidAccessKeyId", "The AccessKey Id you provided is not exist."));
    };
    let mut signed: Vec<String> = request
        .headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-mq-"))
        .map(|(name, value)| format!("{name}:{}\n", value.to_str().unwrap()))
        .collect();
    signed.sort();
    let text = [request.method.as_str(), header("content-md5"), header("content-type"), header("date")].join("\n");
    let text = format!("{text}\n{}{}", signed.concat(), request.resource);
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    if STANDARD.encode(mac.finalize().into_bytes()) != signature {
        let words = "The request signature we calculated does not match the signature you provided.";
        return Some(error(server, 403, "SignatureDoesNotMatch", words));
    }
    if token.is_some_and(|token| header("security-token") != token) {
        return Some(error(server, 403, "AccessDenied", "The security token is not valid."));
    }
    let skew = server.lock().now() / 1_000 - date.as_second();
    (skew.abs() > MAX_SKEW_SECONDS).then(|| error(server, 408, "TimeExpired", "The http request you sent is expired."))
}

fn publish(server: &Server, request: &Recorded, topic: &str) -> Response<Body> {
    let Some(fields) = elements(&request.body, "Message") else {
        return error(server, 400, "MalformedXML", "The XML you provided was not well-formed.");
    };
    let get = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let Some(body) = get("MessageBody").filter(|body| !body.is_empty()) else {
        return error(server, 400, "InvalidArgument", "The value of MessageBody should between 1 and 4194304 bytes.");
    };
    let md5 = md5_of(&body);
    let id = server.lock().store(topic, body, get("MessageTag"), get("Properties").unwrap_or_default()).unwrap();
    let text = format!("<MessageId>{id}</MessageId><MessageBodyMD5>{md5}</MessageBodyMD5>");
    answer(server, 201, document("Message", &text))
}

async fn consume(server: &Server, request: &Recorded, topic: &str) -> Response<Body> {
    let parameter = |name: &str| request.parameter(name);
    let count: usize = parameter("numOfMessages").and_then(|count| count.parse().ok()).unwrap_or(0);
    let wait: u64 = parameter("waitseconds").map_or(0, |wait| wait.parse().unwrap());
    let Some(group) = parameter("consumer").filter(|_| (1..=16).contains(&count) && wait <= 30) else {
        return error(server, 400, "InvalidArgument", "The value of numOfMessages should between 1 and 16.");
    };
    let (tags, ordered) = (parameter("tag"), parameter("trans").as_deref() == Some("order"));
    let started = Instant::now();
    loop {
        let taken = server.lock().take(topic, &group, tags.as_deref(), count, ordered);
        if let Some(messages) = taken {
            return answer(server, 200, document("Messages", &messages));
        }
        if started.elapsed() >= Duration::from_secs(wait) {
            return error(server, 404, "MessageNotExist", "Message not exist.");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn acknowledge(server: &Server, request: &Recorded, topic: &str) -> Response<Body> {
    let receipts: Option<Vec<String>> =
        elements(&request.body, "ReceiptHandles").map(|found| found.into_iter().map(|(_, receipt)| receipt).collect());
    let (Some(receipts), Some(group)) =
        (receipts.filter(|found| (1..=16).contains(&found.len())), request.parameter("consumer"))
    else {
        return error(server, 400, "MalformedXML", "The XML you provided was not well-formed.");
    };
    let refused = server.lock().acknowledge(topic, &group, &receipts);
    if refused.is_empty() {
        return answer(server, 204, String::new());
    }
    let one = |receipt: &String| {
        format!(
            "<Error><ErrorCode>MessageNotExist</ErrorCode><ErrorMessage>Message not exist.</ErrorMessage>\
             <ReceiptHandle>{}</ReceiptHandle></Error>",
            escape(receipt)
        )
    };
    answer(server, 404, document("Errors", &refused.iter().map(one).collect::<String>()))
}

fn error(server: &Server, status: u16, code: &str, message: &str) -> Response<Body> {
    let text = format!(
        "<Code>{code}</Code><Message>{}</Message><RequestId>{:024X}</RequestId><HostId>http://host</HostId>",
        escape(message),
        server.lock().number()
    );
    answer(server, status, document("Error", &text))
}

fn answer(server: &Server, status: u16, body: String) -> Response<Body> {
    let (number, now) = {
        let mut inner = server.lock();
        (inner.number(), inner.now())
    };
    let date = jiff::Timestamp::from_millisecond(now).unwrap().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header("content-type", "text/xml;charset=utf-8")
        .header("x-mq-request-id", format!("{number:024X}"))
        .header("x-mq-version", "2015-06-06")
        .header("date", date)
        .body(Body::from(Bytes::from(body)))
        .unwrap()
}

fn document(root: &str, inside: &str) -> String {
    format!("<?xml version=\"1.0\" ?>\n<{root} xmlns=\"http://mq.aliyuncs.com/doc/v1/\">{inside}</{root}>")
}

/// The children of the outermost element, which must be `root`, with their texts; none when it is no XML.
pub fn elements(text: &str, root: &str) -> Option<Vec<(String, String)>> {
    let mut reader = quick_xml::Reader::from_str(text);
    let (mut depth, mut found, mut current) = (0, Vec::new(), String::new());
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => {
                depth += 1;
                if depth == 1 && start.local_name().as_ref() != root {
                    return None;
                }
                current.clear();
            }
            Event::End(end) => {
                if depth == 2 {
                    found.push((end.local_name().as_ref().to_owned(), std::mem::take(&mut current)));
                }
                depth -= 1;
            }
            Event::Text(text) => current.push_str(&text.xml10_content()),
            Event::CData(text) => current.push_str(&text.xml10_content()),
            Event::GeneralRef(reference) => match reference.resolve_char_ref().ok()? {
                Some(character) => current.push(character),
                None => current.push_str(quick_xml::escape::resolve_xml_entity(&reference.into_inner())?),
            },
            Event::Eof => return (depth == 0).then_some(found),
            _ => {}
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\r', "&#xD;")
}

fn md5_of(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02X}")).collect()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            out.push(u8::from_str_radix(&text[at + 1..at + 3], 16).unwrap());
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).unwrap()
}
