//! Lines of `COPY … TO STDOUT`.

/// The values of a line of `COPY … TO STDOUT` in text form; none is null.
///
/// Source: PostgreSQL's documentation of COPY, "Text Format".
pub fn copied(line: &str) -> impl Iterator<Item = Option<String>> {
    line.trim_end_matches('\n').split('\t').map(|part| {
        if part == "\\N" {
            return None;
        }
        if !part.contains('\\') {
            return Some(part.to_owned());
        }
        let (mut text, mut characters) = (String::with_capacity(part.len()), part.chars());
        while let Some(character) = characters.next() {
            text.push(match character {
                '\\' => match characters.next() {
                    Some('b') => '\u{8}',
                    Some('f') => '\u{c}',
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some('v') => '\u{b}',
                    Some(other) => other,
                    None => '\\',
                },
                other => other,
            });
        }
        Some(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copied_line_has_its_values() {
        let values: Vec<_> = copied("1\t\\N\ta\\tb\\\\n\\n\t\n").collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(values, [text("1"), None, text("a\tb\\n\n"), text("")]);
    }
}
