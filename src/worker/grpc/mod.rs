//! gRPC as daprd speaks it: the messages of Dapr's API, their framing, and its statuses.

pub mod frame;
pub mod status;

/// Messages of Dapr's API, generated from `dapr.proto`.
pub mod proto {
    include!("dapr.rs");
}

/// The schema of [`proto`], for server reflection.
pub const SCHEMA: &[u8] = include_bytes!("dapr.bin");

/// Name of the service that a worker serves.
pub const DAPR: &str = "dapr.proto.runtime.v1.Dapr";
/// Path of `InvokeBinding`.
pub const INVOKE_BINDING: &str = "/dapr.proto.runtime.v1.Dapr/InvokeBinding";
/// Path of `GetMetadata`.
pub const GET_METADATA: &str = "/dapr.proto.runtime.v1.Dapr/GetMetadata";
/// Path of `SetMetadata`.
pub const SET_METADATA: &str = "/dapr.proto.runtime.v1.Dapr/SetMetadata";
/// Path of the app's `ListInputBindings`.
pub const LIST_INPUT_BINDINGS: &str = "/dapr.proto.runtime.v1.AppCallback/ListInputBindings";
/// Path of the app's `OnBindingEvent`.
pub const ON_BINDING_EVENT: &str = "/dapr.proto.runtime.v1.AppCallback/OnBindingEvent";
