//! The XML of requests and answers: a few elements without attributes, none deeper than three.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

use crate::rocketmq::{Error, ErrorKind, Result};

/// Deepest element of an answer that is looked at; none of the protocol is deeper than three.
const MAX_DEPTH: usize = 16;
const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>";
const NAMESPACE: &str = "http://mq.aliyuncs.com/doc/v1/";

/// An element of an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Its name without a prefix.
    pub name: String,
    /// Its text, that of its children left out.
    pub text: String,
    /// The elements in it.
    pub children: Vec<Self>,
}

impl Element {
    /// Text of the first child called `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.children.iter().find(|child| child.name == name).map(|child| child.text.as_str())
    }
}

/// The outermost element of `body`.
///
/// # Errors
/// [`ErrorKind::Protocol`]: it is no well-formed XML.
pub fn parse(body: &[u8]) -> Result<Element> {
    let text = std::str::from_utf8(body).map_err(|error| malformed(&error))?;
    let mut reader = Reader::from_str(text);
    // The element above all, whose only child is wanted.
    let mut open = vec![Element::default()];
    loop {
        let event = reader.read_event().map_err(|error| malformed(&error))?;
        let depth = open.len();
        let Some(current) = open.last_mut() else { return Err(malformed(&"it ends too often")) };
        match event {
            Event::Start(start) if depth <= MAX_DEPTH => {
                open.push(Element { name: start.local_name().as_ref().to_owned(), ..Element::default() });
            }
            Event::Start(_) => return Err(malformed(&"its elements are nested too deeply")),
            Event::Empty(empty) => {
                current.children.push(Element { name: empty.local_name().as_ref().to_owned(), ..Element::default() });
            }
            Event::End(_) => {
                let Some(done) = open.pop() else { return Err(malformed(&"it ends too often")) };
                let Some(parent) = open.last_mut() else { return Err(malformed(&"it ends too often")) };
                parent.children.push(done);
            }
            Event::Text(text) => current.text.push_str(&text.xml10_content()),
            Event::CData(text) => current.text.push_str(&text.xml10_content()),
            Event::GeneralRef(reference) => match reference.resolve_char_ref().map_err(|error| malformed(&error))? {
                Some(character) => current.text.push(character),
                None => {
                    let name = reference.into_inner();
                    let known = resolve_predefined_entity(&name);
                    let unknown = || malformed(&format_args!("the entity {name:?} is not known"));
                    current.text.push_str(known.ok_or_else(unknown)?);
                }
            },
            Event::Eof if depth == 1 => break,
            Event::Eof => return Err(malformed(&"it ends in the middle")),
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    let root = open.pop().and_then(|mut above| above.children.pop());
    root.ok_or_else(|| malformed(&"it has no element"))
}

/// A document with the outermost element `root`; `fields` are its children, in order.
///
/// # Errors
/// [`ErrorKind::InvalidMessage`]: a text holds what XML cannot.
pub fn document(root: &str, fields: &[(&str, &str)]) -> Result<String> {
    let mut out = format!("{DECLARATION}<{root} xmlns=\"{NAMESPACE}\">");
    for (name, text) in fields {
        out.extend(["<", name, ">"]);
        push_text(&mut out, name, text)?;
        out.extend(["</", name, ">"]);
    }
    out.extend(["</", root, ">"]);
    Ok(out)
}

/// Escapes as the SDK for Python does, and carriage returns too, which a reader of XML would turn into line feeds.
fn push_text(out: &mut String, name: &str, text: &str) -> Result<()> {
    out.reserve(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            '\t' | '\n' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => out.push(character),
            _ => {
                let message = format!("{name}: holds U+{:04X}, which XML cannot carry", u32::from(character));
                return Err(Error::with_remedy(
                    ErrorKind::InvalidMessage,
                    message,
                    Some("send text, for instance base64, or use accessProto: tcp, which carries all bytes".to_owned()),
                ));
            }
        }
    }
    Ok(())
}

fn malformed(why: &dyn std::fmt::Display) -> Error {
    let remedy = "check that spec.endpoint is the HTTP endpoint of the instance and no proxy answers instead of it";
    let message = format!("the endpoint's answer cannot be read as XML: {why}");
    Error::with_remedy(ErrorKind::Protocol, message, Some(remedy.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let body = "a <b> & \"c\" 'd'\r\n\tключ 🦀 ]]>";
        let text = document("Message", &[("MessageBody", body), ("MessageTag", "t")]).unwrap();
        let element = parse(text.as_bytes()).unwrap();
        assert_eq!((element.name.as_str(), element.get("MessageBody")), ("Message", Some(body)));
        assert_eq!((element.get("MessageTag"), element.get("other")), (Some("t"), None));
    }

    #[test]
    fn text_may_be_in_pieces_and_elements_empty() {
        let text =
            "<?xml version=\"1.0\"?>\n<!-- x --><m:M xmlns:m='u'>\n <A>1<![CDATA[<2>]]>&#51;&amp;</A> <B/></m:M>";
        let element = parse(text.as_bytes()).unwrap();
        assert_eq!((element.name.as_str(), element.get("A"), element.get("B")), ("M", Some("1<2>3&"), Some("")));
    }

    #[test]
    fn what_is_no_xml_is_refused() {
        let deep = "<a>".repeat(100);
        for text in ["", "no", "<a>", "<a></b>", "</a>", "<a>&unknown;</a>", "<html><br></html>", &deep] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{text}");
        }
        assert!(parse(b"<a>\xff</a>").is_err());
    }

    #[test]
    fn what_xml_cannot_carry_is_refused() {
        for text in ["\u{0}", "a\u{1b}b", "\u{ffff}"] {
            let error = document("Message", &[("MessageBody", text)]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidMessage);
            assert!(error.to_string().starts_with("MessageBody: holds U+"), "{error}");
        }
    }
}
