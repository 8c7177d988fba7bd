//! Properties of a message: values by name.

use std::fmt;
use std::ops::Index;

use bytestring::ByteString;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Values by name, in the order of the names; a name has one value.
///
/// What was received shares the memory of the answer that it came in, so that nothing is copied until it is changed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(Vec<Pair>);

type Pair = (ByteString, ByteString);

impl Properties {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&ByteString> {
        self.find(name).ok().map(|at| &self.0[at].1)
    }

    /// Whether a name has a value.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// Gives a name a value, instead of the one that it may have.
    pub fn insert(&mut self, name: impl Into<ByteString>, value: impl Into<ByteString>) {
        let (name, value) = (name.into(), value.into());
        match self.find(&name) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (name, value)),
        }
    }

    /// Gives a name a value unless it has one.
    pub fn insert_missing(&mut self, name: impl Into<ByteString>, value: impl FnOnce() -> ByteString) {
        let name = name.into();
        if let Err(at) = self.find(&name) {
            self.0.insert(at, (name, value()));
        }
    }

    /// Takes a name's value away.
    pub fn remove(&mut self, name: &str) -> Option<ByteString> {
        self.find(name).ok().map(|at| self.0.remove(at).1)
    }

    /// Names and values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&ByteString, &ByteString)> + Clone {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// Names.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &ByteString> {
        self.0.iter().map(|(name, _)| name)
    }

    /// Values, in the order of the names.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &ByteString> {
        self.0.iter().map(|(_, value)| value)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(name))
    }
}

impl<'a> IntoIterator for &'a Properties {
    type Item = (&'a ByteString, &'a ByteString);
    type IntoIter = std::iter::Map<std::slice::Iter<'a, Pair>, fn(&'a Pair) -> Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

impl Index<&str> for Properties {
    type Output = ByteString;

    /// # Panics
    /// There is no such property, as with the standard library's maps: for names that are known to be there.
    fn index(&self, name: &str) -> &ByteString {
        self.get(name).expect("a property that is asked for by index should be there")
    }
}

impl<N: Into<ByteString>, V: Into<ByteString>> Extend<(N, V)> for Properties {
    fn extend<T: IntoIterator<Item = (N, V)>>(&mut self, properties: T) {
        properties.into_iter().for_each(|(name, value)| self.insert(name, value));
    }
}

impl<N: Into<ByteString>, V: Into<ByteString>> FromIterator<(N, V)> for Properties {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(properties: T) -> Self {
        let mut all = Self::new();
        all.extend(properties);
        all
    }
}

impl From<Vec<(ByteString, ByteString)>> for Properties {
    /// Of several values of a name the last one stays.
    fn from(mut properties: Vec<(ByteString, ByteString)>) -> Self {
        if !properties.is_sorted_by(|(one, _), (next, _)| one < next) {
            properties.reverse();
            properties.sort_by(|(one, _), (other, _)| one.cmp(other));
            properties.dedup_by(|(later, _), (kept, _)| later == kept);
        }
        Self(properties)
    }
}

impl<N: Into<ByteString>, V: Into<ByteString>, const COUNT: usize> From<[(N, V); COUNT]> for Properties {
    fn from(properties: [(N, V); COUNT]) -> Self {
        properties.into_iter().collect()
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry::<str, str>(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_a_map(steps in prop::collection::vec(("[a-d]{1,2}", "[a-z]{0,3}", 0..4u8), 0..40)) {
            let (mut map, mut properties) = (BTreeMap::<String, String>::new(), Properties::new());
            for (name, value, step) in steps {
                match step {
                    0 => prop_assert_eq!(map.remove(&name), properties.remove(&name).map(String::from)),
                    1 => {
                        map.entry(name.clone()).or_insert_with(|| value.clone());
                        properties.insert_missing(name, || value.into());
                    }
                    _ => {
                        map.insert(name.clone(), value.clone());
                        properties.insert(name, value);
                    }
                }
                let all = properties.iter().map(|(name, value)| (name.to_string(), value.to_string()));
                prop_assert!(all.eq(map.clone()));
                prop_assert_eq!(&map.clone().into_iter().collect::<Properties>(), &properties);
            }
            prop_assert_eq!(serde_json::to_string(&properties).unwrap(), serde_json::to_string(&map).unwrap());
        }
    }
}
