//! Says of every RocketMQSync that it is understood and not run yet.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use crate::api::RocketMQSync;
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::feed::Reference;
use crate::controller::reconciler::Kind;
use crate::controller::status::{announce_first_sight, write};

use super::status;

impl Kind for RocketMQSync {
    const KIND: &'static str = "RocketMQSync";

    fn names(&self, _: &Reference) -> bool {
        false
    }

    async fn reconcile(sync: Arc<Self>, context: Arc<Context>) -> Result<(), Error> {
        announce_first_sight(&context, &*sync).await?;
        // status (no client required)
        let status = status::compute(&sync, Timestamp::now());
        // write (client required, only if changed)
        write(&context, &*sync, &status).await
    }
}
