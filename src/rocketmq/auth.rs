//! Signatures of RocketMQ's ACL: HMAC-SHA1 over all header field values in the order of their names, and the body
//! (`AclUtils.combineRequestContent` of Apache RocketMQ; ACL 2.0 keeps the same form).

use std::borrow::Cow;

use base64::Engine as _;
use hmac::{Hmac, Mac};
use secrecy::ExposeSecret as _;
use sha1::Sha1;

use super::config::Credentials;
use super::wire::Command;

/// Adds `AccessKey`, `SecurityToken` and `Signature` to a request.
pub fn sign(request: &mut Command, credentials: &Credentials) {
    let mut add = |name: &'static str, value: String| request.fields.push((Cow::Borrowed(name), value));
    add("AccessKey", credentials.access_key.clone());
    if let Some(token) = &credentials.security_token {
        add("SecurityToken", token.expose_secret().to_owned());
    }
    let signature = signature(request, credentials.secret_key.expose_secret().as_bytes());
    request.fields.push((Cow::Borrowed("Signature"), signature));
}

fn signature(request: &Command, key: &[u8]) -> String {
    let mut fields: Vec<(&str, &str)> =
        request.fields.iter().map(|(name, value)| (name.as_ref(), value.as_str())).collect();
    fields.sort_unstable_by_key(|(name, _)| *name);
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(key) else { return String::new() }; // HMAC takes a key of any length
    for (_, value) in fields {
        mac.update(value.as_bytes());
    }
    mac.update(&request.body);
    base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_covers_sorted_values_and_the_body() {
        let credentials =
            Credentials { access_key: "ak".into(), secret_key: "sk".to_owned().into(), security_token: None };
        let mut one = Command::request(10).with("b", "2").with("a", "1").with_body("body");
        let mut other = Command::request(10).with("a", "1").with("b", "2").with_body("body");
        sign(&mut one, &credentials);
        sign(&mut other, &credentials);
        assert_eq!(one.field("Signature"), other.field("Signature"));
        // printf 'ak12body' | openssl dgst -sha1 -hmac sk -binary | base64
        assert_eq!(one.field("Signature"), Some("45zJhq303mKsOzjx7JMuW5cm+kI="));
    }
}
