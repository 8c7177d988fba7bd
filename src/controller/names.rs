//! Names of children and values of labels, derived from names of custom resources.
//!
//! A custom resource's name is a DNS subdomain of up to 253 characters; a Service's name is a DNS label of up to 63 that
//! starts with a letter. A name that has to be changed to fit gets a hash of the whole name, so that two never meet.

use sha2::{Digest, Sha256};

/// Longest DNS label, and longest value of a label.
const LABEL_LIMIT: usize = 63;

/// Hexadecimal digits of the hash in a shortened name.
const HASH_DIGITS: usize = 10;

/// Name of a child: `<name>-<component>`, at most 63 characters, usable for every kind of child.
///
/// The component keeps a binding and a connection of one name apart.
#[must_use]
pub fn child(name: &str, component: &str) -> String {
    let limit = LABEL_LIMIT - component.len() - 1;
    let fits = name.len() <= limit && is_dns_label(name);
    let stem = if fits { name.to_owned() } else { shortened(name, limit) };
    format!("{stem}-{component}")
}

/// Value of the label `app.kubernetes.io/instance` for a custom resource of this name.
#[must_use]
pub fn label_value(name: &str) -> String {
    if name.len() <= LABEL_LIMIT { name.to_owned() } else { shortened(name, LABEL_LIMIT) }
}

/// Longest group name that is derived: the broker's retry topic of the group must fit, too.
const GROUP_LIMIT: usize = 96;

/// Longest name of an object in a database.
const DATABASE_LIMIT: usize = 63;

/// A consumer group for a resource that names none: letters, digits, `-` and `_`, unique in the Kubernetes cluster.
#[must_use]
pub fn group(namespace: &str, name: &str) -> String {
    let full = format!("{namespace}_{name}");
    if full.len() <= GROUP_LIMIT && !full.contains('.') {
        return full;
    }
    let mut stem = full.replace('.', "-");
    stem.truncate(GROUP_LIMIT - HASH_DIGITS - 1);
    format!("{stem}-{}", hash(&full))
}

/// Name of a replication slot or publication for a resource that names none: lower-case letters, digits and `_`.
#[must_use]
pub fn database_object(namespace: &str, name: &str) -> String {
    let full = format!("{namespace}_{name}");
    let mut stem: String =
        full.chars().map(|character| if character.is_ascii_alphanumeric() { character } else { '_' }).collect();
    stem.truncate(DATABASE_LIMIT - HASH_DIGITS - 1);
    format!("{stem}_{}", hash(&full))
}

/// Server id for a resource that names none: the same for the same resource, and out of the way of small ids that people give.
#[must_use]
pub fn server_id(namespace: &str, name: &str) -> u32 {
    const LOWEST: u32 = 1_000_000;
    let digest = Sha256::digest(format!("{namespace}/{name}").as_bytes());
    let number = digest.iter().take(4).fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    LOWEST + number % (u32::MAX - LOWEST)
}

fn hash(name: &str) -> String {
    Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).take(HASH_DIGITS / 2).collect()
}

fn is_dns_label(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase()) && !name.contains('.')
}

fn shortened(name: &str, limit: usize) -> String {
    let hash = hash(name);
    let mut stem: String = name.chars().map(|character| if character == '.' { '-' } else { character }).collect();
    if !stem.starts_with(|first: char| first.is_ascii_lowercase()) {
        stem.insert_str(0, "r-");
    }
    stem.truncate(limit - HASH_DIGITS - 1);
    format!("{}-{hash}", stem.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_names_stay_readable() {
        assert_eq!(child("orders", "binding"), "orders-binding");
        assert_eq!(label_value("orders.v1"), "orders.v1");
    }

    #[test]
    fn dots_and_digits_are_replaced_without_collisions() {
        assert_ne!(child("a.b", "binding"), child("a-b", "binding"));
        assert!(child("1st", "binding").starts_with("r-1st-"));
        assert_ne!(child("1st", "binding"), child("r-1st", "binding"));
    }

    #[test]
    fn names_of_253_characters_fit_and_differ_by_their_end() {
        let (one, other) = (format!("{}1", "a".repeat(252)), format!("{}2", "a".repeat(252)));
        assert_eq!(child(&one, "connection").len(), 63);
        assert_ne!(child(&one, "connection"), child(&other, "connection"));
        assert_ne!(label_value(&one), label_value(&other));
    }

    proptest! {
        #[test]
        fn every_resource_name_gives_a_dns_label(name in "[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?") {
            let child = child(&name, "binding");
            prop_assert!(child.len() <= 63);
            prop_assert!(child.starts_with(|first: char| first.is_ascii_lowercase()), "{}", child);
            prop_assert!(child.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{}", child);
            let value = label_value(&name);
            prop_assert!(value.len() <= 63 && value.ends_with(|last: char| last.is_ascii_alphanumeric()), "{}", value);
        }
    }
}
