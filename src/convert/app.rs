//! Where the app is: Dapr's sidecar calls it in its own pod, a worker calls it by a Service or a URL.

use std::str::FromStr;

use super::Conversion;
use super::component::object_name;
use super::manifest::{Api, App, Credential, Reference, Service};
use super::surroundings::Workload;

/// Where the app listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A Service, by its name and port.
    Service(Service),
    /// A URL.
    Url(String),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains("://") {
            return Ok(Self::Url(text.to_owned()));
        }
        let wrong = || format!("{text:?} is neither SERVICE:PORT, such as orders:8080, nor a URL");
        let (name, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
        if object_name(name) != name || name.contains('.') {
            return Err(wrong());
        }
        Ok(Self::Service(Service { name: name.to_owned(), port }))
    }
}

/// Port of an app that nothing tells.
const ASSUMED_PORT: u16 = 8080;
/// Key that Dapr reads in the Secrets of API tokens.
const TOKEN_KEY: &str = "token";

impl Conversion<'_> {
    /// The workload that loads the component, if the files hold one and one only.
    pub(super) fn workload(&mut self) -> Option<Workload> {
        let (namespace, scopes) = (self.component.namespace.clone(), self.component.scopes.clone());
        match self.surroundings.workloads(namespace.as_deref(), &scopes).as_slice() {
            [one] => Some((*one).clone()),
            _ => None,
        }
    }

    /// The app of an input.
    pub(super) fn app(&mut self, workload: Option<&Workload>) -> App {
        let mut app = App { path: self.path(), ..App::default() };
        match self.address(workload) {
            Address::Service(service) => app.service = Some(service),
            Address::Url(url) => app.url = Some(url),
        }
        let protocol = workload.and_then(|workload| workload.annotation("app-protocol")).unwrap_or("http").to_owned();
        if self.options.is_grpc_app.unwrap_or(protocol.starts_with("grpc")) {
            app.protocol = Some("GRPC");
        }
        if let Some(workload) = workload {
            self.of_sidecar(workload, &protocol, &mut app);
        }
        self.note_scopes();
        app
    }

    fn address(&mut self, workload: Option<&Workload>) -> Address {
        let dapr = "the sidecar calls the app in its own pod, at 127.0.0.1";
        if let Some(address) = self.options.app.clone() {
            self.changed("app", dapr, "the worker is a pod of its own and calls the address given with --app");
            return address;
        }
        let port = workload.and_then(|workload| workload.annotation("app-port")?.parse().ok());
        if let (Some(workload), Some(port)) = (workload, port)
            && let Some(service) = self.surroundings.service_of(workload, u64::from(port))
        {
            let Service { name, port } = &service;
            self.changed(
                "app",
                dapr,
                format!("the worker is a pod of its own and calls the Service {name}:{port} of {}", workload.subject),
            );
            return Address::Service(service);
        }
        let scope = self.component.scopes.first().cloned().unwrap_or_else(|| self.component.name.clone());
        let name = object_name(&workload.map_or(scope, |workload| workload.app_id.clone())).replace('.', "-");
        let service = Service { name: name.chars().take(63).collect(), port: port.unwrap_or(ASSUMED_PORT) };
        self.attention(
            "app",
            dapr,
            format!(
                "the worker is a pod of its own; no file tells the app's Service, {}:{} was assumed: create it, or convert \
                 with --app SERVICE:PORT or --app URL",
                service.name, service.port
            ),
        );
        Address::Service(service)
    }

    fn path(&mut self) -> Option<String> {
        let route = self.text("route")?;
        Some(if route.starts_with('/') { route } else { format!("/{route}") })
    }

    fn of_sidecar(&mut self, workload: &Workload, protocol: &str, app: &mut App) {
        if let Some(name) = workload.annotation("app-token-secret") {
            app.api_token = Some(token(name));
            self.note("dapr.io/app-token-secret", name, "app.apiToken reads the same Secret");
        }
        if let Some(count) = workload.annotation("app-max-concurrency").and_then(|count| count.parse().ok())
            && count > 0
        {
            app.max_concurrency = Some(count);
            self.note("dapr.io/app-max-concurrency", count.to_string(), "app.maxConcurrency, for each worker");
        }
        if matches!(protocol, "https" | "grpcs")
            && let Some(Service { name, port }) = app.service.take()
        {
            let host = match &workload.namespace {
                Some(namespace) => format!("{name}.{namespace}.svc"),
                None => name,
            };
            app.url = Some(format!("{protocol}://{host}:{port}"));
            self.attention(
                "dapr.io/app-protocol",
                format!("{protocol}, any certificate is accepted"),
                "the app's certificate must be valid for the host of app.url",
            );
        }
        if protocol == "h2c" {
            self.attention("dapr.io/app-protocol", "h2c: HTTP/2 without TLS", "HTTP/1.1: the app must speak it too");
        }
    }

    fn note_scopes(&mut self) {
        let scopes = self.component.scopes.join(", ");
        if self.component.scopes.len() > 1 {
            self.attention(
                "scopes",
                format!("each of {scopes} reads, and the consumer group shares the messages out among them"),
                "one binding delivers to one app: write a further binding, with a consumerGroup of its own if that app is to \
                 get every message",
            );
        }
    }

    /// The API of an output.
    pub(super) fn api(&mut self, workload: Option<&Workload>) -> Api {
        let mut api = Api::default();
        if let Some(name) = workload.and_then(|workload| workload.annotation("api-token-secret")) {
            api.token = Some(token(name));
            self.note("dapr.io/api-token-secret", name.to_owned(), "api.token reads the same Secret");
        }
        let megabytes = workload.and_then(|workload| workload.annotation("http-max-request-size")?.parse::<u32>().ok());
        let size = workload.and_then(|workload| workload.annotation("max-body-size")).map(ToOwned::to_owned);
        api.max_body_size = size.or(megabytes.map(|megabytes| format!("{megabytes}Mi")));
        if api.token.is_none() {
            let scopes = self.component.scopes.join(", ");
            let who = if scopes.is_empty() { "the apps of the namespace".to_owned() } else { scopes };
            self.attention(
                "scopes",
                format!("{who} may publish, each by its own sidecar"),
                "everybody who reaches the Service may publish: set api.token, or a NetworkPolicy",
            );
        }
        api
    }
}

fn token(secret: &str) -> Credential {
    Credential { secret_key_ref: Reference { name: secret.to_owned(), key: TOKEN_KEY.to_owned() } }
}
