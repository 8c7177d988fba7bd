//! Statements of the log: only those are looked into that change tables as a whole, or rows without telling them one by one.

/// What a statement is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// A transaction begins; its rows follow.
    Begin,
    /// The transaction ends, and is done.
    Commit,
    /// The transaction ends, and is undone.
    Rollback,
    /// A distributed transaction begins, whose end is decided later.
    Distributed,
    /// All rows of a table are gone.
    Truncate(Name),
    /// Tables are gone.
    Drop(Vec<Name>),
    /// Rows were changed, which the log does not tell one by one; what it names.
    Rows(Vec<String>),
    /// A part of a transaction that changes no row.
    Inside,
    /// Another one, which stands alone.
    Other,
}

/// A table, and its database where that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Database.
    pub database: Option<String>,
    /// Table.
    pub table: String,
}

impl Statement {
    /// Reads a statement.
    #[must_use]
    pub fn read(text: &str) -> Self {
        // Most are one word.
        if text == "BEGIN" {
            return Self::Begin;
        }
        let mut words = Words { rest: text };
        let first = words.next().unwrap_or_default().to_uppercase();
        match first.as_str() {
            "BEGIN" | "START" => Self::Begin,
            "COMMIT" => Self::Commit,
            "ROLLBACK" => {
                if words.next().is_none() {
                    Self::Rollback
                } else {
                    Self::Inside
                }
            }
            "SAVEPOINT" | "RELEASE" => Self::Inside,
            "XA" => match words.next().unwrap_or_default().to_uppercase().as_str() {
                "START" | "BEGIN" => Self::Distributed,
                "END" => Self::Inside,
                // What it ends was told before.
                _ => Self::Commit,
            },
            "TRUNCATE" => {
                let next = words.next().unwrap_or_default();
                let name = if next.eq_ignore_ascii_case("TABLE") { words.name() } else { words.name_from(next) };
                name.map_or(Self::Other, Self::Truncate)
            }
            "DROP" => words.dropped(),
            "INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "LOAD" => Self::Rows(words.collect()),
            _ => Self::Other,
        }
    }
}

/// Words, names and signs of a statement; comments are left out.
struct Words<'a> {
    rest: &'a str,
}

impl Words<'_> {
    fn name(&mut self) -> Option<Name> {
        let first = self.next()?;
        self.name_from(first)
    }

    fn name_from(&mut self, first: String) -> Option<Name> {
        let before = self.rest;
        if self.next().as_deref() == Some(".") {
            return Some(Name { database: Some(first), table: self.next()? });
        }
        self.rest = before;
        (!first.is_empty()).then_some(Name { database: None, table: first })
    }

    fn dropped(&mut self) -> Statement {
        let is = |word: &Option<String>, expected: &str| {
            word.as_deref().is_some_and(|word| word.eq_ignore_ascii_case(expected))
        };
        if !is(&self.next(), "TABLE") {
            return Statement::Other;
        }
        let before = self.rest;
        if is(&self.next(), "IF") {
            self.next();
        } else {
            self.rest = before;
        }
        let mut names = Vec::new();
        loop {
            names.extend(self.name());
            if self.next().as_deref() != Some(",") {
                return Statement::Drop(names);
            }
        }
    }

    fn skip_blanks(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            let end = if self.rest.starts_with("/*") {
                self.rest.find("*/").map(|end| end + 2)
            } else if self.rest.starts_with("-- ") || self.rest.starts_with('#') {
                self.rest.find('\n')
            } else {
                return;
            };
            self.rest = &self.rest[end.unwrap_or(self.rest.len())..];
        }
    }
}

impl Iterator for Words<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.skip_blanks();
        let first = self.rest.chars().next()?;
        if matches!(first, '`' | '"' | '\'') {
            let (mut word, mut characters) = (String::new(), self.rest.char_indices().skip(1).peekable());
            while let Some((_, character)) = characters.next() {
                if character != first {
                    word.push(character);
                } else if characters.next_if(|(_, next)| *next == first).is_some() {
                    // Written twice, it is a part of the name.
                    word.push(first);
                } else {
                    break;
                }
            }
            let end = characters.peek().map_or(self.rest.len(), |(place, _)| *place);
            self.rest = &self.rest[end..];
            return Some(word);
        }
        let is_part = |character: char| character.is_alphanumeric() || matches!(character, '_' | '$');
        let end = if is_part(first) {
            self.rest.find(|character| !is_part(character)).unwrap_or(self.rest.len())
        } else {
            first.len_utf8()
        };
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(word.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_told_apart() {
        let name = |database: Option<&str>, table: &str| Name {
            database: database.map(str::to_owned),
            table: table.to_owned(),
        };
        for (text, expected) in [
            ("BEGIN", Statement::Begin),
            ("COMMIT /* c */", Statement::Commit),
            ("ROLLBACK TO a", Statement::Inside),
            ("ROLLBACK", Statement::Rollback),
            ("XA START 'x'", Statement::Distributed),
            ("/* a */ truncate table `shop`.`o``r`", Statement::Truncate(name(Some("shop"), "o`r"))),
            ("TRUNCATE orders", Statement::Truncate(name(None, "orders"))),
            (
                "DROP TABLE IF EXISTS `a`, b.c /* generated by server */",
                Statement::Drop(vec![name(None, "a"), name(Some("b"), "c")]),
            ),
            ("DROP DATABASE a", Statement::Other),
            ("ALTER TABLE a ADD b int", Statement::Other),
            ("-- x\nUPDATE t SET a", Statement::Rows(["t", "SET", "a"].map(str::to_owned).to_vec())),
            ("", Statement::Other),
        ] {
            assert_eq!(Statement::read(text), expected, "{text}");
        }
    }
}
