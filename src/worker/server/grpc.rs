//! Dapr's gRPC service, the parts of it that a binding needs, with gRPC's standard health service and server reflection.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::post;
use prost::Message;
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::super::binding::encoding::Data;
use super::super::binding::request::DATA_ENCODING;
use super::super::binding::trace::TraceContext;
use super::super::grpc::frame::{Incoming, answer, encode, failure, hold};
use super::super::grpc::proto::actor_runtime::ActorRuntimeStatus;
use super::super::grpc::proto::{
    ActorRuntime, AppConnectionProperties, GetMetadataRequest, GetMetadataResponse, InvokeBindingRequest,
    InvokeBindingResponse, RegisteredComponents, SetMetadataRequest,
};
use super::super::grpc::status::with_reason;
use super::super::grpc::{DAPR, GET_METADATA, INVOKE_BINDING, SCHEMA, SET_METADATA};
use super::api::{Api, BODY_TIMEOUT, Metadata};
use super::error::INVOKE_FAILED;
use super::invoke::{Call, Failed, METADATA, TopicResult};

/// Reason, and beginning of the message, of a call with a wrong token or none.
const UNAUTHORIZED: &str = "Unauthorized";
const HEALTH: &str = "/grpc.health.v1.Health/";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/{*method}";
const REFLECTION_ALPHA: &str = "/grpc.reflection.v1alpha.ServerReflection/{*method}";

/// The services.
///
/// # Panics
/// Never: the schema is generated, and a test compares it with its source.
pub async fn router(api: Arc<Api>) -> Router {
    let reporter = HealthReporter::new();
    reporter.set_service_status(DAPR, ServingStatus::Serving).await;
    let health = tonic_health::pb::health_server::HealthServer::new(
        tonic_health::server::HealthService::from_health_reporter(reporter),
    );
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(SCHEMA)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name(DAPR)
            .with_service_name("grpc.health.v1.Health")
    };
    Router::new()
        .route(INVOKE_BINDING, post(invoke_binding))
        .route(GET_METADATA, post(get_metadata))
        .route(SET_METADATA, post(set_metadata))
        .route_service(REFLECTION, reflection().build_v1().expect("the generated schema should be readable"))
        .route_service(REFLECTION_ALPHA, reflection().build_v1alpha().expect("the generated schema should be readable"))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), check_token))
        .route_service(&format!("{HEALTH}{{*method}}"), health)
        .fallback(unimplemented)
        .method_not_allowed_fallback(unimplemented)
        .with_state(api)
}

/// UNAUTHENTICATED as daprd answers; health needs no token, so that a kubelet can ask.
async fn check_token(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let token = request.headers().get("dapr-api-token");
    if api.admits(token.map(|token| token.as_bytes())) {
        return next.run(request).await;
    }
    let (detail, remedy) = match token {
        None => ("missing api token in request metadata", "send dapr-api-token"),
        Some(_) => ("authentication error: api token mismatch", "send the token of spec.api.token"),
    };
    let metadata = [("http.code", "401"), ("http.error_message", detail)];
    let metadata = metadata.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    failure(with_reason(Code::Unauthenticated, UNAUTHORIZED, &format!("{UNAUTHORIZED}: {detail}; {remedy}"), metadata))
}

async fn unimplemented(request: Request) -> Response {
    let method = request.uri().path().trim_start_matches('/');
    failure(Status::unimplemented(format!(
        "{method} is not served by a binding worker, which has InvokeBinding, GetMetadata and SetMetadata of {DAPR}; call a \
         Dapr sidecar for other building blocks"
    )))
}

async fn invoke_binding(State(api): State<Arc<Api>>, request: Request) -> Response {
    match invoke(&api, request).await {
        // What was read of the topics is held as long as its answer is.
        Ok((message, share)) => answer(hold(encode(&message), share)),
        Err(status) => failure(status),
    }
}

async fn invoke(api: &Api, request: Request) -> Result<(InvokeBindingResponse, Option<OwnedSemaphorePermit>), Status> {
    let (InvokeBindingRequest { name, data, mut metadata, operation }, headers, _share) = read(api, request).await?;
    if metadata.remove(DATA_ENCODING).is_some() {
        let why = format!("metadata {DATA_ENCODING}: is for HTTP; remove it, data is stored as it is");
        return Err(Status::invalid_argument(why));
    }
    let trace = trace(&headers).or(|| TraceContext::found(|name| metadata.get(name).map(String::as_str)));
    let call = Call { name: &name, operation: &operation, metadata: &metadata, data: Data::Raw(data), trace };
    let answer = api.invoke(call).await?;
    let metadata = answer.metadata.into_iter();
    let metadata = metadata.map(|(name, value)| (name.trim_start_matches(METADATA).to_owned(), value));
    Ok((InvokeBindingResponse { data: answer.data, metadata: metadata.collect() }, answer.share))
}

/// The caller's trace: as text, or in gRPC's binary form.
fn trace(headers: &HeaderMap) -> TraceContext {
    TraceContext::from_headers(headers).or(|| {
        headers
            .get("grpc-trace-bin")
            .map_or_else(TraceContext::default, |value| TraceContext::from_binary(value.as_bytes()))
    })
}

async fn get_metadata(State(api): State<Arc<Api>>, request: Request) -> Response {
    let Metadata { name, version, capabilities, extended } = api.metadata();
    let component = RegisteredComponents {
        name: name.clone(),
        r#type: "bindings.rocketmq".to_owned(),
        version: "v1".to_owned(),
        capabilities: capabilities.into_iter().map(str::to_owned).collect(),
    };
    let disabled = ActorRuntime { runtime_status: ActorRuntimeStatus::Disabled.into(), ..ActorRuntime::default() };
    let metadata = GetMetadataResponse {
        id: name,
        registered_components: vec![component],
        extended_metadata: extended,
        app_connection_properties: Some(AppConnectionProperties::default()),
        runtime_version: version.to_owned(),
        enabled_features: Vec::new(),
        actor_runtime: Some(disabled),
    };
    respond(read::<GetMetadataRequest>(&api, request).await.map(|_| metadata))
}

async fn set_metadata(State(api): State<Arc<Api>>, request: Request) -> Response {
    let set = async {
        let (SetMetadataRequest { key, value }, ..) = read(&api, request).await?;
        api.set_metadata(key, value).map_err(Status::resource_exhausted)
    };
    respond(set.await)
}

/// Reads the request's message; its share of the budget is taken before.
async fn read<Type: Message + Default>(
    api: &Api,
    request: Request,
) -> Result<(Type, HeaderMap, Option<OwnedSemaphorePermit>), Status> {
    let (parts, body) = request.into_parts();
    let incoming = Incoming::open(&parts.headers, body, api.max_body_bytes()).await?;
    let share = api.share(incoming.size()).await;
    let message = tokio::time::timeout(BODY_TIMEOUT, incoming.read()).await;
    let late = |_| {
        let seconds = BODY_TIMEOUT.as_secs();
        Status::deadline_exceeded(format!("the message did not arrive within {seconds} s; send it at once"))
    };
    Ok((message.map_err(late)??, parts.headers, share))
}

fn respond(result: Result<impl Message, Status>) -> Response {
    result.map_or_else(failure, |message| answer(encode(&message)))
}

impl From<Failed> for Status {
    fn from(failed: Failed) -> Self {
        let topics = failed.topics.into_iter().map(|TopicResult { topic, message_id, error, .. }| {
            (topic, error.unwrap_or_else(|| format!("stored as {}", message_id.unwrap_or_default())))
        });
        with_reason(Code::Internal, INVOKE_FAILED, &failed.message, topics.collect())
    }
}
