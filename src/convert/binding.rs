//! A component's fields, one by one.

use super::Conversion;
use super::component::object_name;
use super::credentials::Credentials;
use super::manifest::{Api, Binding, Metadata, Secret, Spec};
use super::surroundings::Workload;

/// Which way messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Input,
    Output,
    Both,
}

impl Direction {
    fn reads(self) -> bool {
        self != Self::Output
    }

    fn writes(self) -> bool {
        self != Self::Input
    }

    fn word(self) -> &'static str {
        match self {
            Self::Input => "Input",
            Self::Output => "Output",
            Self::Both => "InputOutput",
        }
    }
}

/// Where Java's client looks for the list of name servers when it is given a bare host.
const NAME_SERVER_LIST: &str = ":8080/rocketmq/nsaddr";
/// Most messages of one request with accessProto: http.
const HTTP_BATCH: i64 = 16;

/// Converts the component; mistakes and differences are noted in `conversion`.
pub(super) fn convert(conversion: &mut Conversion<'_>) -> (Option<Binding>, Option<Secret>) {
    conversion.check_names();
    conversion.check_name();
    conversion.runtime_settings();
    let topics = conversion.topics();
    let direction = conversion.direction(!topics.is_empty());
    let Credentials { access_key, secret_key, secret } = conversion.credentials();
    let access_proto = conversion.access_proto();
    let is_http = access_proto.as_deref() == Some("http");
    let (name_server, name_server_domain) = if is_http { (None, None) } else { conversion.name_servers() };
    let endpoint = conversion.endpoint(is_http, access_key.is_some());
    let workload = conversion.workload();
    let mut spec = Spec {
        direction: (direction != Direction::Both).then(|| direction.word()),
        access_proto,
        name_server,
        name_server_domain,
        endpoint,
        instance_id: conversion.text("instanceId"),
        access_key,
        secret_key,
        topics,
        consumer_group: conversion.consumer_group(direction, is_http),
        consumer_batch_size: conversion.batch_size(is_http),
        consumer_thread_nums: conversion.thread_nums(direction),
        retries: conversion.retries(),
        ..Spec::default()
    };
    if direction.reads() {
        spec.app = Some(conversion.app(workload.as_ref()));
        spec.delivery = if is_http { conversion.delivery_over_http() } else { conversion.delivery() };
        conversion.tell_input(spec.topics.is_empty());
    } else {
        conversion.unused_of_an_input();
    }
    if direction.writes() {
        let api = conversion.api(workload.as_ref());
        spec.api = Some(api).filter(|api| !Api::is_default(api));
        conversion.tell_output(workload.as_ref(), spec.topics.is_empty());
    }
    let component = conversion.component;
    let metadata = Metadata {
        name: component.object_name(),
        namespace: component.namespace.clone(),
        labels: component.own_metadata("labels"),
        annotations: component.own_metadata("annotations"),
    };
    let binding = conversion.mistakes.is_empty().then(|| Binding::new(metadata, spec));
    (binding, secret.filter(|_| conversion.mistakes.is_empty()))
}

impl Conversion<'_> {
    fn check_name(&mut self) {
        let (name, object) = (self.component.name.clone(), self.component.object_name());
        if name != object {
            self.attention(
                "metadata.name",
                format!("{name:?}, which Kubernetes would refuse; callers use /v1.0/bindings/{name}"),
                format!("{object:?}: callers use /v1.0/bindings/{object}, an input gets POST /{object}; or give the component another name"),
            );
        }
    }

    fn runtime_settings(&mut self) {
        if let Some(ignore) = self.component.setting("ignoreErrors").filter(|ignore| ignore == "true") {
            self.note(
                "ignoreErrors",
                format!("{ignore}: the sidecar starts without the binding, and half of it runs"),
                "left out: a worker waits for the cluster, says so in its conditions, and goes on by itself",
            );
        }
        if let Some(timeout) = self.component.setting("initTimeout") {
            self.note("initTimeout", timeout, "left out: a worker keeps trying; see retries");
        }
    }

    fn direction(&mut self, has_topics: bool) -> Direction {
        let Some(text) = self.text("direction") else { return self.guess_direction(has_topics) };
        let (mut reads, mut writes) = (false, false);
        for word in text.split(',').map(|word| word.trim().to_ascii_lowercase()) {
            match word.as_str() {
                "input" => reads = true,
                "output" => writes = true,
                _ => {
                    self.wrong("direction", format!("{text:?} is not known; write input, output or \"input, output\""))
                }
            }
        }
        if reads && !has_topics {
            self.wrong("topics", "is missing, and an input reads nothing without; name at least one topic");
        }
        match (reads, writes) {
            (true, false) => Direction::Input,
            (false, true) => Direction::Output,
            _ => {
                self.tell_both();
                Direction::Both
            }
        }
    }

    /// Dapr sets up both when nothing is said; what the component is for shows in its other fields.
    fn guess_direction(&mut self, has_topics: bool) -> Direction {
        let is_read = ["consumerGroup", "route", "consumerBatchSize", "consumerThreadNums"]
            .iter()
            .any(|name| self.component.properties.find(name).is_some());
        if has_topics && is_read {
            self.tell_both();
            return Direction::Both;
        }
        self.attention(
            "direction",
            "not given: the sidecar sets up input and output, and ends with an error",
            "Output, since there is no consumerGroup or no topic; for an input set direction, topics and consumerGroup",
        );
        Direction::Output
    }

    fn tell_both(&mut self) {
        self.changed(
            "direction",
            "input and output in one component: the sidecar ends with \"producer group has been created\"",
            "works, as the page says; write direction: input or output if one is enough",
        );
    }

    fn access_proto(&mut self) -> Option<String> {
        let Some(text) = self.text("accessProto") else {
            self.changed("accessProto", "not given: the sidecar ends with an error", "tcp");
            return None;
        };
        match text.to_ascii_lowercase().as_str() {
            "tcp" => None,
            "tcp-cgo" => {
                self.changed(
                    "accessProto",
                    "tcp-cgo: official builds end with an error",
                    "the same as tcp, with consumerThreadNums honoured",
                );
                Some("tcp-cgo".to_owned())
            }
            "http" => Some("http".to_owned()),
            _ => {
                self.wrong("accessProto", format!("{text:?} is not known; write tcp, tcp-cgo or http"));
                None
            }
        }
    }

    fn name_servers(&mut self) -> (Option<String>, Option<String>) {
        let servers = self.text("nameServer").map(|text| self.server_list(&text));
        let domain = self.text("nameServerDomain").map(|text| self.server_domain(text));
        match (&servers, &domain) {
            (None, None) => self.wrong("nameServer", "is missing; write host:port of a name server"),
            (None, Some(_)) => self.changed(
                "nameServerDomain",
                "the sidecar ends with an error unless nameServer is set too",
                "nameServerDomain is enough",
            ),
            _ => {}
        }
        (servers, domain)
    }

    fn server_list(&mut self, text: &str) -> String {
        let mut servers = Vec::new();
        for server in text.split([',', ';']).map(str::trim).filter(|server| !server.is_empty()) {
            let bare = server.strip_prefix("http://").or_else(|| server.strip_prefix("https://")).unwrap_or(server);
            servers.push(bare.trim_end_matches('/'));
        }
        if text.contains("://") {
            self.changed(
                "nameServer",
                "a host name needs http:// before it",
                "host names and addresses alike, without http://",
            );
        } else if servers.iter().any(|server| server.chars().any(char::is_alphabetic)) {
            self.changed(
                "nameServer",
                "a host name without http:// ends the sidecar with \"IP addr error\"",
                "host names and addresses alike",
            );
        }
        if servers.len() > 1 {
            self.changed(
                "nameServer",
                "lists separated by ; end the sidecar",
                "separated by , or ;, and tried in turn",
            );
        }
        if servers.iter().any(|server| is_local(server)) {
            self.attention(
                "nameServer",
                "localhost is the app's own pod, or machine",
                "localhost is the worker's pod: write the Service of the name server, such as rocketmq-namesrv:9876 \
                 (not for `dev`)",
            );
        }
        servers.join(";")
    }

    fn server_domain(&mut self, domain: String) -> String {
        if domain.starts_with("http://") || domain.starts_with("https://") {
            return domain;
        }
        let url = format!("http://{}{NAME_SERVER_LIST}", domain.trim_end_matches('/'));
        self.attention(
            "nameServerDomain",
            format!("{domain:?} is no URL, and the sidecar finds no name server"),
            format!("{url}, where RocketMQ's Java client looks: correct it if yours is elsewhere"),
        );
        url
    }

    fn endpoint(&mut self, is_http: bool, has_credentials: bool) -> Option<String> {
        let endpoint = self.text("endpoint");
        match (is_http, &endpoint) {
            (true, None) => {
                self.wrong("endpoint", "is missing, and accessProto: http needs it; write the URL of the endpoint")
            }
            (false, Some(endpoint)) => self.note(
                "endpoint",
                format!("{endpoint}: ignored without accessProto: http"),
                "left out: it is refused without accessProto: http",
            ),
            _ => {}
        }
        if is_http && !has_credentials && self.component.properties.find("accessKey").is_none() {
            self.wrong("accessKey", "is missing, and accessProto: http needs accessKey and secretKey; set both");
        }
        if is_http && self.component.properties.find("nameServer").is_some() {
            self.note("nameServer", "not used with accessProto: http", "left out");
        }
        endpoint.filter(|_| is_http)
    }

    fn consumer_group(&mut self, direction: Direction, is_http: bool) -> Option<String> {
        let group = self.text("consumerGroup");
        if group.is_none() && direction.reads() {
            let dapr = if is_http { "the sidecar ends with a panic" } else { "the input does not start" };
            self.changed("consumerGroup", format!("not given: {dapr}"), "a group is derived from namespace and name");
        }
        group
    }

    fn batch_size(&mut self, is_http: bool) -> Option<i64> {
        let size = self.number("consumerBatchSize", 1, 1024)?;
        if is_http {
            if size > HTTP_BATCH {
                let here = format!("{HTTP_BATCH}, the most that one request gives");
                self.changed("consumerBatchSize", format!("{size}: refused by the endpoint"), here);
            }
            return Some(size.min(HTTP_BATCH));
        }
        self.changed("consumerBatchSize", "ignored with tcp", format!("{size} messages are asked for at once"));
        Some(size)
    }

    fn thread_nums(&mut self, direction: Direction) -> Option<i64> {
        let dapr = "ignored with tcp: 20 messages of each topic are handled at the same time";
        let Some(threads) = self.number("consumerThreadNums", 1, 10_000) else {
            if direction.reads() {
                self.changed("consumerThreadNums", dapr, "20 in all; raise it for more");
            }
            return None;
        };
        self.changed("consumerThreadNums", dapr, format!("{threads} in all, as the page says; raise it for more"));
        Some(threads)
    }

    fn retries(&mut self) -> Option<i64> {
        let retries = self.number("retries", 0, 1000)?;
        self.changed(
            "retries",
            "repetitions of a send after a transport error; the connection is tried once",
            format!("{retries} attempts to connect before the worker reports a failure; it goes on trying"),
        );
        Some(retries)
    }

    fn unused_of_an_input(&mut self) {
        let names = ["route"].into_iter().chain(super::delivery::NAMES);
        for name in names.filter(|name| self.component.properties.find(name).is_some()) {
            self.note(name, "not used by an output", "left out");
        }
    }

    fn tell_input(&mut self, has_no_topics: bool) {
        if has_no_topics && self.mistakes.is_empty() {
            self.wrong("topics", "is missing, and an input reads nothing without; name at least one topic");
        }
        self.changed(
            "start",
            "a topic, group or broker that is missing at the start is never found, while healthz says 204",
            "waited for, told in the conditions, and found when it comes",
        );
        self.changed("app.timeout", "an app that hangs is waited for without end", "30s, then the delivery has failed");
        self.changed(
            "deliveries",
            "headers name the broker and the group",
            "also topic, message id, tag, keys, queue, times and redelivery count",
        );
    }

    fn tell_output(&mut self, workload: Option<&Workload>, has_no_topics: bool) {
        let name = self.component.object_name();
        let app = workload.map_or_else(String::new, |workload| format!(" of {}", workload.subject));
        self.attention(
            "address of the API",
            "localhost:3500 in the app's pod".to_owned(),
            format!(
                "the Service {}-binding, ports 3500 (HTTP) and 50001 (gRPC): set DAPR_HTTP_ENDPOINT=http://{}-binding:3500{app}, or run the worker as a \
                 sidecar (docs/sidecar.md)",
                object_name(&name),
                object_name(&name)
            ),
        );
        self.changed(
            "data",
            "decoded and encoded anew: large numbers change, < becomes \\u003c",
            "stored exactly as it was sent",
        );
        if has_no_topics {
            self.changed(
                "topics",
                "not given: a request without rocketmq-topic answers 200 and sends nothing",
                "such a request fails and says so",
            );
        }
        self.changed("rocketmq-key", "stored with a blank behind it", "stored as it is");
        self.changed(
            "request metadata",
            "`topics` is ignored; unknown keys are",
            "`topics` works as the page says; unknown keys that begin with rocketmq- are refused",
        );
    }
}

fn is_local(server: &str) -> bool {
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    host.eq_ignore_ascii_case("localhost") || host.starts_with("127.") || host == "::1" || host == "[::1]"
}
