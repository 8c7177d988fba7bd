//! Names that `spec.metadata` of the binding may hold, and what is said of others.

use super::Conversion;
use super::delivery;

/// Names of Dapr's page, of its code, and of the runtime.
const NAMES: [&str; 14] = [
    "accessProto",
    "accessKey",
    "secretKey",
    "nameServer",
    "endpoint",
    "consumerGroup",
    "consumerBatchSize",
    "consumerThreadNums",
    "instanceId",
    "nameServerDomain",
    "retries",
    "topics",
    "direction",
    "route",
];

impl Conversion<'_> {
    /// Tells names that nothing reads, and names that are there twice.
    pub(super) fn check_names(&mut self) {
        let names: Vec<String> = self.component.properties.iter().map(|property| property.name.clone()).collect();
        for (index, name) in names.iter().enumerate() {
            if names[..index].iter().any(|earlier| earlier.eq_ignore_ascii_case(name)) {
                self.attention(
                    name,
                    "is there twice: the last one counts",
                    "the same: remove the one that is not meant",
                );
            }
            let known = NAMES.iter().chain(&delivery::NAMES).any(|known| known.eq_ignore_ascii_case(name));
            if !known {
                self.attention(name, "is not known and ignored without a word", left_out(name));
            }
        }
    }
}

fn left_out(name: &str) -> String {
    let nearest = NAMES.iter().chain(&delivery::NAMES).map(|known| (distance(name, known), *known)).min();
    match nearest {
        Some((distance, known)) if distance <= 3 => {
            format!("left out; was {known} meant? Then correct the component and convert again")
        }
        _ => "left out".to_owned(),
    }
}

/// How many letters differ: Levenshtein's distance, without regard to case.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, of_other) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *of_other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_seen() {
        assert!(left_out("nameSever").contains("was nameServer meant"));
        assert!(left_out("consumergroups").contains("was consumerGroup meant"));
        assert_eq!(left_out("somethingElse"), "left out");
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("", "abc"), 3);
    }
}
