//! The signature of a request: HMAC-SHA1 over what the request asks for, with the secret key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use secrecy::ExposeSecret;
use sha1::Sha1;

use crate::rocketmq::Credentials;

/// Version of the protocol, a header that is signed.
pub const VERSION: &str = "2015-06-06";

/// What is signed. `content_type` is empty without a body; `resource` is path and query as they are sent. There is no
/// `content-md5`: it is optional, and its line stays empty.
pub fn string_to_sign(method: &str, content_type: &str, date: &str, resource: &str) -> String {
    format!("{method}\n\n{content_type}\n{date}\nx-mq-version:{VERSION}\n{resource}")
}

/// Value of the header `Authorization`.
pub fn authorization(credentials: &Credentials, text: &str) -> String {
    // A key of any length is taken.
    let mac = Hmac::<Sha1>::new_from_slice(credentials.secret_key.expose_secret().as_bytes());
    let signature = mac.map(|mac| mac.chain_update(text).finalize().into_bytes()).unwrap_or_default();
    format!("MQ {}:{}", credentials.access_key, STANDARD.encode(signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both SDKs give this for the same request.
    #[test]
    fn the_signature_is_that_of_the_sdks() {
        let text = string_to_sign(
            "POST",
            "text/xml;charset=UTF-8",
            "Thu, 26 Nov 2026 12:00:00 GMT",
            "/topics/orders/messages?ns=MQ_INST_1",
        );
        let credentials = Credentials { access_key: "ak".into(), secret_key: "sk".into(), security_token: None };
        assert_eq!(authorization(&credentials, &text), "MQ ak:yl3MEEQAHP9KGGRTEu07uEI5aio=");
    }
}
