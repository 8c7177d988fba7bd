//! `spec.metadata` of a component: names in any case, values as texts.

use std::time::Duration;

use super::Conversion;

/// What stands behind a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// A text.
    Value(String),
    /// A key in the secret store.
    Secret {
        /// Name of the secret.
        name: String,
        /// Key within it.
        key: String,
    },
    /// A variable of the sidecar's environment.
    Environment(String),
}

/// An item of `spec.metadata`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Name as written.
    pub name: String,
    /// What it has.
    pub given: Given,
}

/// All items.
#[derive(Debug, Clone, Default)]
pub struct Properties(Vec<Property>);

impl Properties {
    /// Adds an item.
    pub fn push(&mut self, property: Property) {
        self.0.push(property);
    }

    /// The item of that name in any case; the last of several, as Dapr has it.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Property> {
        self.0.iter().rev().find(|property| property.name.eq_ignore_ascii_case(name))
    }

    /// All items in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Property> {
        self.0.iter()
    }
}

/// Texts in `{}` that Dapr replaces by something that each sidecar has of its own.
const PER_POD: [&str; 2] = ["{uuid}", "{podName}"];

impl Conversion<'_> {
    /// The text of a property; nothing when it is left out, empty, or wrong (which is noted).
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let property = self.component.properties.find(name)?.clone();
        let text = match property.given {
            Given::Value(text) => text,
            Given::Secret { name: secret, key } => self.read_secret(name, &secret, &key)?,
            Given::Environment(variable) => {
                let message = format!(
                    "comes from the sidecar's variable {variable:?}, which a worker does not have; write its value"
                );
                self.wrong(name, message);
                return None;
            }
        };
        let text = self.fill_in(name, text.trim());
        (!text.is_empty()).then_some(text)
    }

    /// A field that cannot refer to a Secret here takes its value from the Secret in the files.
    fn read_secret(&mut self, name: &str, secret: &str, key: &str) -> Option<String> {
        let namespace = self.component.namespace.clone();
        let Some(text) = self.surroundings.secret_value(namespace.as_deref(), secret, key) else {
            self.wrong(
                name,
                format!(
                    "comes from the key {key:?} of the secret {secret:?}; only accessKey and secretKey can refer to a \
                     Secret here: write the value, or give the Secret with -f so that it is copied"
                ),
            );
            return None;
        };
        self.changed(
            name,
            format!("read from the secret {secret:?} by each start"),
            "its present value stands in the manifest: change both from now on",
        );
        Some(text)
    }

    /// Replaces what Dapr replaces in values.
    fn fill_in(&mut self, name: &str, text: &str) -> String {
        if let Some(template) = PER_POD.iter().find(|template| text.contains(**template)) {
            let message = format!(
                "{text:?} has {template}, which is another value in each pod; a binding has one value for all: write it out"
            );
            self.wrong(name, message);
        }
        let mut text = text.to_owned();
        let known = [
            ("{namespace}", self.component.namespace.clone()),
            ("{appID}", self.component.scopes.first().filter(|_| self.component.scopes.len() == 1).cloned()),
        ];
        for (template, value) in known {
            if !text.contains(template) {
                continue;
            }
            match value {
                Some(value) => text = text.replace(template, &value),
                None => {
                    self.wrong(name, format!("{text:?} has {template}, which the manifest does not tell; write it out"))
                }
            }
        }
        text
    }

    /// A whole number between two bounds; outside of them the nearest, which is noted.
    pub(super) fn number(&mut self, name: &str, least: i64, most: i64) -> Option<i64> {
        let text = self.text(name)?;
        let Ok(number) = text.parse::<i64>() else {
            self.wrong(name, format!("{text:?} is no whole number; write for instance \"{}\"", least.max(3)));
            return None;
        };
        let bounded = number.clamp(least, most);
        if bounded != number {
            self.changed(name, format!("{number}"), format!("{bounded}: the bounds are {least} and {most}"));
        }
        Some(bounded)
    }

    /// A duration as Dapr reads it: Go's form, or a number of milliseconds.
    pub(super) fn duration(&mut self, name: &str) -> Option<Duration> {
        let text = self.text(name)?;
        let duration = match text.parse::<u64>() {
            Ok(millis) => Some(Duration::from_millis(millis)),
            Err(_) => go_duration(&text),
        };
        if duration.is_none() {
            self.wrong(name, format!("{text:?} is no duration; write for instance \"5s\" or \"1m30s\""));
        }
        duration
    }
}

/// Go's text form of a duration: numbers with a fraction and a unit, such as `1h2.5s`.
fn go_duration(text: &str) -> Option<Duration> {
    let units = [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
        seconds += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

/// A duration in the form of our manifests, at least a second: the broker knows no shorter wait.
pub(super) fn written(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round().max(1.0);
    format!("{seconds:.0}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_go_are_read() {
        let millis = |text: &str| go_duration(text).map(|duration| duration.as_millis());
        assert_eq!(millis("1m30s"), Some(90_000));
        assert_eq!(millis("1.5s"), Some(1_500));
        assert_eq!(millis("250ms"), Some(250));
        for wrong in ["", "5", "s", "5 s", "5d", "-5s", "1.2.3s"] {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
        assert_eq!(written(Duration::from_millis(500)), "1s");
        assert_eq!(written(Duration::from_secs(90)), "90s");
    }
}
