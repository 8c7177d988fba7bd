//! Asks the API server what it says to an object.

use kube::Client;
use serde_json::Value;

/// What the API server says to an object.
#[derive(Debug)]
pub enum Verdict {
    /// Accepted, with defaults.
    Accepted(Value),
    /// Refused, with this message.
    Refused(String),
}

impl Verdict {
    /// The object with defaults.
    pub fn accepted(self) -> Value {
        match self {
            Self::Accepted(object) => object,
            Self::Refused(message) => panic!("refused: {message}"),
        }
    }

    /// The message.
    pub fn refused(self) -> String {
        match self {
            Self::Accepted(object) => panic!("accepted: {object}"),
            Self::Refused(message) => message,
        }
    }
}

/// Creates `object` in a dry run with strict field validation, as kubectl does.
pub async fn dry_run(client: &Client, object: &Value) -> Verdict {
    let path = format!("{}?dryRun=All&fieldValidation=Strict", collection(object));
    let body = serde_json::to_vec(object).unwrap();
    let request = http::Request::post(path).header("Content-Type", "application/json").body(body).unwrap();
    match client.request::<Value>(request).await {
        Ok(created) => Verdict::Accepted(created),
        Err(kube::Error::Api(status)) if status.code == 422 || status.code == 400 => Verdict::Refused(status.message),
        Err(error) => panic!("the API server did not decide about {object}: {error}"),
    }
}

/// Path of the collection that a namespaced object is created in.
fn collection(object: &Value) -> String {
    let version = object["apiVersion"].as_str().unwrap();
    let root = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    format!("{root}/namespaces/default/{}s", object["kind"].as_str().unwrap().to_lowercase())
}
