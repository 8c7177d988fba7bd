//! What goes wrong: credentials, topics, answers that are late, lost or no answers, clocks, certificates.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use rocketmq_connector::worker_config::binding::BindingConfig;
use rocketmq_connector::worker_config::connection::TlsFiles;
use rocketmq_connector::worker_config::report::{WorkerState, warnings};
use tokio::net::{TcpListener, TcpStream};

use super::server::{ACCESS_KEY, Fault, SECRET_KEY, Server};
use super::worker_support::{App, TestWorker, credential_files, eventually};
use super::{GROUP, last_error, with_input, with_output};

const CREATE: &str = r#"{"operation": "create", "data": 1}"#;

/// Answers every request of a method so, until it is told otherwise.
fn always(server: &Server, method: Method, fault: Fault) {
    server.fault(move |request| (request.method == method).then(|| fault.clone()));
}

/// Answers the next `count` requests of a method so.
fn next(server: &Server, method: Method, mut count: usize, fault: Fault) {
    server.fault(move |request| {
        let is_hit = request.method == method && count > 0;
        count -= usize::from(is_hit);
        is_hit.then(|| fault.clone())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_told_and_right_ones_taken_up() {
    let server = Server::start(&["orders"]).await;
    let folder = tempfile::tempdir().unwrap();
    let app = App::taking().await;
    let config = with_input(&server, &folder, &["orders"], &app);
    credential_files(folder.path(), ACCESS_KEY, "wrong-secret");
    server.publish("orders", "waits");
    let worker = TestWorker::start(config).await;
    let report = worker.until("a refusal", |report| report.state == WorkerState::Failing).await;
    let (reason, remedy) = last_error(&report);
    assert_eq!(reason, "AccessDenied");
    assert!(remedy.contains("check secretKey"), "{remedy}");
    let error = report.last_error.as_ref().unwrap();
    assert!(error.message.contains("403 SignatureDoesNotMatch"), "{error:?}");
    assert!(!format!("{report:?}").contains("wrong-secret"));
    assert!(app.messages().is_empty());

    credential_files(folder.path(), ACCESS_KEY, SECRET_KEY);
    app.until(1).await;
    worker.until("delivery", |report| report.state == WorkerState::Running).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_credentials_are_tried_first_and_taken_up_without_a_gap() {
    let server = Server::start(&["orders"]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = with_output(&server, &folder, &["orders"]);
    let token = folder.path().join("token");
    std::fs::write(&token, "token-1").unwrap();
    config.cluster.credentials.as_mut().unwrap().security_token = Some(token.to_string_lossy().into_owned());
    server.lock().users.insert(ACCESS_KEY.to_owned(), (SECRET_KEY.to_owned(), Some("token-1".to_owned())));
    let worker = TestWorker::start(config).await;
    worker.until("a connection", |report| report.state == WorkerState::Running).await;
    assert_eq!(worker.create(CREATE).await.status, 200);

    credential_files(folder.path(), "another", "wrong");
    let report = worker.until("a warning", |report| !report.warnings.is_empty()).await;
    assert_eq!(report.warnings[0].reason, warnings::CREDENTIALS_REFUSED);
    assert!(report.warnings[0].message.contains("the earlier ones stay in use"), "{report:?}");
    assert_eq!(worker.create(CREATE).await.status, 200);

    let user = ("another-secret".to_owned(), Some("token-2".to_owned()));
    server.lock().users.insert("another".to_owned(), user);
    std::fs::write(&token, "token-2").unwrap();
    credential_files(folder.path(), "another", "another-secret");
    worker.until("no warning", |report| report.warnings.is_empty()).await;
    server.lock().users.remove(ACCESS_KEY);
    assert_eq!(worker.create(CREATE).await.status, 200);
    let last = server.requests(&Method::POST).pop().unwrap();
    assert!(last.header("authorization").starts_with("MQ another:"));
    assert_eq!(last.header("security-token"), "token-2");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_told_and_found_when_it_comes() {
    let server = Server::start(&["orders"]).await;
    let folder = tempfile::tempdir().unwrap();
    let app = App::taking().await;
    let worker = TestWorker::start(with_input(&server, &folder, &["orders", "later"], &app)).await;
    server.publish("orders", "the other topic works");
    app.until(1).await;
    let report = worker.until("a report", |report| last_error(report).0 == "TopicNotFound").await;
    assert!(last_error(&report).1.contains("create the topic in the console"), "{report:?}");
    assert_eq!(report.state, WorkerState::Running, "one of two topics is read");
    server.lock().topics.insert("later".to_owned(), Vec::new());
    server.publish("later", "found");
    app.until(2).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_that_pass_are_tried_again() {
    let server = Server::start(&["orders"]).await;
    let folder = tempfile::tempdir().unwrap();
    let worker = TestWorker::start(with_output(&server, &folder, &["orders"])).await;
    worker.until("a connection", |report| report.state == WorkerState::Running).await;
    let internal = "<?xml version=\"1.0\"?><Error xmlns=\"http://mq.aliyuncs.com/doc/v1/\"><Code>InternalError</Code>\
                    <Message>Interal error.</Message><RequestId>R</RequestId><HostId>h</HostId></Error>";
    next(&server, Method::POST, 2, Fault::Answer(500, internal));
    assert_eq!(worker.create(CREATE).await.status, 200);
    assert_eq!(server.requests(&Method::POST).len(), 3);

    // After three attempts the caller hears of it, and the worker looks for the end of the failure by itself.
    next(&server, Method::POST, 3, Fault::Answer(503, "<html>busy</html>"));
    let answer = worker.create(CREATE).await;
    assert_eq!(answer.status, 500);
    assert!(answer.body.contains("answered 503 no code for topic orders: <html>busy</html>"), "{answer:?}");
    worker.until("the failure", |report| report.state == WorkerState::Failing).await;
    worker.until("its end", |report| report.state == WorkerState::Running).await;

    // An answer that is no XML, and one that is lost: the message may be stored, and the caller is not told that it was.
    for body in ["<Message><MessageId>", "{}", "<Other/>"] {
        next(&server, Method::POST, 1, Fault::Lost(201, body));
        let answer = worker.create(CREATE).await;
        assert_eq!(answer.status, 500, "{body}: {answer:?}");
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_endpoint_is_given_up_and_told() {
    let server = Server::start(&["orders"]).await;
    let folder = tempfile::tempdir().unwrap();
    let worker = TestWorker::start(with_output(&server, &folder, &["orders"])).await;
    worker.until("a connection", |report| report.state == WorkerState::Running).await;
    always(&server, Method::POST, Fault::Late(Duration::from_secs(60)));
    let answer = worker.create(CREATE).await;
    assert!(answer.body.contains("did not answer for topic orders within 5000 ms"), "{answer:?}");
    assert_eq!(last_error(&worker.report()).0, "Timeout");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_that_fail_are_told_and_go_on() {
    let server = Server::start(&["orders"]).await;
    let folder = tempfile::tempdir().unwrap();
    let app = App::taking().await;
    always(&server, Method::GET, Fault::Answer(200, "<Messages><Message><MessageId>x</MessageId>"));
    let worker = TestWorker::start(with_input(&server, &folder, &["orders"], &app)).await;
    let report = worker.until("a report", |report| last_error(report).0 == "ProtocolError").await;
    assert_eq!(report.state, WorkerState::Failing, "nothing is read");
    server.publish("orders", "after all");
    server.fault(|_| None);
    app.until(1).await;
    worker.until("its end", |report| report.state == WorkerState::Running).await;

    // A poll whose answer is lost: the message is held for the service's time and then comes again.
    server.lock().invisible = Duration::from_secs(2);
    next(&server, Method::GET, 1, Fault::Lost(502, ""));
    server.publish("orders", "ends the poll that goes on");
    app.until(2).await;
    server.publish("orders", "lost at first");
    let messages = app.until(3).await;
    assert_eq!(messages[2].body, "lost at first");
    worker.stop().await;
    assert_eq!(server.messages("orders")[2].deliveries(GROUP), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_that_comes_too_late_is_told_and_the_message_comes_again() {
    let server = Server::start(&["orders"]).await;
    server.lock().invisible = Duration::from_secs(1);
    let folder = tempfile::tempdir().unwrap();
    let app = App::start(|_, count| match count {
        1 => (StatusCode::OK, Duration::from_millis(1_500)),
        _ => (StatusCode::OK, Duration::ZERO),
    })
    .await;
    let worker = TestWorker::start(with_input(&server, &folder, &["orders"], &app)).await;
    server.publish("orders", "slow");
    server.publish("orders", "slow too");
    eventually("all settled", async || server.all_done("orders", GROUP)).await;
    let report = worker.until("a report", |report| report.last_error.is_some()).await;
    let message = &report.last_error.as_ref().unwrap().message;
    assert!(message.contains("failed to acknowledge") && message.contains("MessageNotExist"), "{message}");
    assert_eq!(report.state, WorkerState::Running);
    assert_eq!(app.messages().len(), 4);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_that_fail_are_sent_again() {
    let server = Server::start(&["orders"]).await;
    let folder = tempfile::tempdir().unwrap();
    let app = App::taking().await;
    let worker = TestWorker::start(with_input(&server, &folder, &["orders"], &app)).await;
    worker.until("a connection", |report| report.state == WorkerState::Running).await;
    next(&server, Method::DELETE, 2, Fault::Answer(500, ""));
    server.publish("orders", "once");
    eventually("all settled", async || server.all_done("orders", GROUP)).await;
    assert_eq!(app.messages().len(), 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_wait_for_an_app_and_are_left_to_others_when_their_time_is_over() {
    let server = Server::start(&["orders"]).await;
    server.lock().invisible = Duration::from_secs(2);
    let folder = tempfile::tempdir().unwrap();
    let app = App::taking().await;
    let address = app.address;
    let config = with_input(&server, &folder, &["orders"], &app);
    app.stop();
    drop(app);
    server.publish("orders", "patient");
    let worker = TestWorker::start(config).await;
    worker.until("a report", |report| last_error(report).0 == "AppUnreachable").await;
    eventually("further deliveries", async || server.messages("orders")[0].deliveries(GROUP) >= 2).await;
    let app = App::start_at(address, |_, _| (StatusCode::OK, Duration::ZERO)).await;
    eventually("all settled", async || server.all_done("orders", GROUP)).await;
    assert_eq!(app.messages().len(), 1, "what had come again meanwhile was not delivered twice");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_is_told_as_such() {
    let server = Server::start(&["orders"]).await;
    server.lock().clock = 3_600;
    let folder = tempfile::tempdir().unwrap();
    let worker = TestWorker::start(with_output(&server, &folder, &["orders"])).await;
    let report = worker.until("a refusal", |report| report.state == WorkerState::Failing).await;
    let (reason, remedy) = last_error(&report);
    assert_eq!(reason, "AccessDenied");
    assert!(remedy.contains("set the clock of the node") && remedy.contains("-3600 s"), "{remedy}");

    // Ten minutes are borne, and the time that a message has left is told by the service's clock.
    server.lock().clock = 600;
    worker.until("a connection", |report| report.state == WorkerState::Running).await;
    worker.stop().await;
    server.lock().clock = -600;
    let app = App::taking().await;
    let worker = TestWorker::start(with_input(&server, &folder, &["orders"], &app)).await;
    server.lock().invisible = Duration::from_secs(300);
    server.publish("orders", "in time");
    app.until(1).await;
    worker.stop().await;
    assert!(server.all_done("orders", GROUP));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_down_at_the_start_is_found_when_it_comes() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let app = App::taking().await;
    let (absent, _) = Server::prepare(free, &[]);
    let worker = TestWorker::start(with_input(&absent, &folder, &["orders"], &app)).await;
    let report = worker.until("a report", |report| report.state == WorkerState::Failing).await;
    assert_eq!(last_error(&report).0, "BrokerUnreachable", "{report:?}");
    assert!(last_error(&report).1.contains("check spec.endpoint"), "{report:?}");
    let server = Server::start_at(free, &["orders"]).await;
    server.publish("orders", "found");
    app.until(1).await;

    // And when it goes away and comes back.
    eventually("all settled", async || server.all_done("orders", GROUP)).await;
    server.stop();
    worker.until("the loss", |report| report.state == WorkerState::Failing).await;
    let again = Server::start_at(free, &["orders"]).await;
    again.publish("orders", "found again");
    app.until(2).await;
    worker.until("its end", |report| report.state == WorkerState::Running).await;
    worker.stop().await;
}

/// A listener that speaks TLS.
struct TlsListener {
    listener: TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = tokio_rustls::server::TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// An authority and a certificate of it for the name `mq.example.com`.
fn certificates(folder: &Path) {
    let openssl = |arguments: &str| {
        let mut command = std::process::Command::new("openssl");
        let output = command.args(arguments.split(' ')).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    std::fs::write(folder.join("names"), "subjectAltName=DNS:mq.example.com").unwrap();
    for authority in ["ca", "other"] {
        openssl(&format!("req -x509 {key} -days 2 -subj /CN={authority} -keyout {authority}.key -out {authority}.pem"));
    }
    openssl(&format!("req {key} -subj /CN=mq.example.com -keyout server.key -out server.csr"));
    openssl("x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_of_an_https_endpoint_is_checked_and_another_authority_taken_up() {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (server, router) = Server::prepare(listener.local_addr().unwrap(), &["orders"]);
    let config: BindingConfig = with_output(&server, &folder, &["orders"]);
    let chain = vec![CertificateDer::from_pem_file(folder.path().join("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.path().join("server.key")).unwrap();
    let tls = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    tokio::spawn(axum::serve(TlsListener { listener, acceptor }, router).into_future());

    let trusted = folder.path().join("trusted.pem");
    std::fs::copy(folder.path().join("other.pem"), &trusted).unwrap();
    let mut config = config;
    config.http_endpoint = Some(format!("https://{}", server.address));
    config.cluster.tls = Some(TlsFiles {
        ca: Some(trusted.to_string_lossy().into_owned()),
        server_name: Some("mq.example.com".to_owned()),
        ..TlsFiles::default()
    });
    let worker = TestWorker::start(config).await;
    let report = worker.until("a stranger's certificate", |report| report.state == WorkerState::Failing).await;
    assert_eq!(last_error(&report).0, "TlsFailed", "{report:?}");
    assert!(last_error(&report).1.contains("spec.tls.ca"), "{report:?}");

    // What cannot be read changes nothing but the report.
    std::fs::write(&trusted, "no certificate").unwrap();
    worker.until("a report", |report| last_error(report).0 == "InvalidConfig").await;

    std::fs::copy(folder.path().join("ca.pem"), &trusted).unwrap();
    worker.until("a connection", |report| report.state == WorkerState::Running).await;
    assert_eq!(worker.create(CREATE).await.status, 200);
    worker.stop().await;
}
