//! Whether a user's own libvirt domain XML may be stored: checked when it is said, long before a
//! host meets it. Pure, and without anything of libvirt's: here because both the coordinator (which
//! refuses it at once) and the node (which completes it) need the same answer.
//!
//! Only what PVC relies on is looked at. What libvirt thinks of the rest it says at the start.

use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

/// Longest document, bytes.
pub const RAW_XML_BYTES_MAX: usize = 64 * 1024;
/// Deepest nesting of elements.
pub const RAW_XML_DEPTH_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RawXmlError {
    #[error("the domain XML has {bytes} bytes; at most {RAW_XML_BYTES_MAX} are taken")]
    TooLong { bytes: usize },
    #[error("the domain XML is not well-formed at line {line}, column {column}: {detail}")]
    Malformed { line: usize, column: usize, detail: String },
    #[error("line {line}, column {column}: a document type declaration (<!DOCTYPE>) is not taken")]
    DocumentType { line: usize, column: usize },
    #[error(
        "line {line}, column {column}: the entity &{entity}; is not known; only &lt; &gt; &amp; &quot; &apos; \
         and character references are taken"
    )]
    Entity { line: usize, column: usize, entity: String },
    #[error("line {line}, column {column}: elements are nested more than {RAW_XML_DEPTH_MAX} deep")]
    TooDeep { line: usize, column: usize },
    #[error("the document's root is <{found}>; a libvirt domain begins with <domain type='…'>")]
    WrongRoot { found: String },
    #[error("the document is empty; a libvirt domain begins with <domain type='…'>")]
    NoRoot,
    #[error("line {line}, column {column}: something follows the end of <domain>")]
    AfterRoot { line: usize, column: usize },
    #[error("<domain> lacks its attribute type (kvm or qemu)")]
    NoDomainType,
    #[error("<domain> has no <{element}>; a guest can't be started without it")]
    Missing { element: &'static str },
    #[error("line {line}, column {column}: a second <{element}> in <domain>")]
    Twice { line: usize, column: usize, element: String },
}

/// Elements of which a domain has at most one, and which PVC reads or replaces.
const SINGLE: [&str; 12] = [
    "name",
    "uuid",
    "metadata",
    "memory",
    "currentMemory",
    "vcpu",
    "os",
    "cpu",
    "devices",
    "on_poweroff",
    "on_reboot",
    "on_crash",
];

/// Whether PVC can keep and complete this domain XML.
pub fn check_raw_xml(text: &str) -> Result<(), RawXmlError> {
    if text.len() > RAW_XML_BYTES_MAX {
        return Err(RawXmlError::TooLong { bytes: text.len() });
    }
    let mut reader = Reader::from_str(text);
    reader.config_mut().enable_all_checks(true);
    let mut check = Check { text, depth: 0, seen: Vec::new(), root_ended: false, root_begun: false };
    loop {
        let at = reader.buffer_position() as usize;
        let event = reader.read_event().map_err(|e| {
            let (line, column) = line_column(text, reader.error_position() as usize);
            RawXmlError::Malformed { line, column, detail: plain_words(&e) }
        })?;
        match event {
            Event::Start(start) => check.open(&start, at)?,
            Event::Empty(start) => {
                check.open(&start, at)?;
                check.close();
            }
            Event::End(_) => check.close(),
            Event::Text(content) => {
                let content = content.into_inner();
                let blank = content.trim().is_empty();
                check.content(at + content.len() - content.trim_start().len(), blank)?;
            }
            Event::CData(_) => check.content(at, false)?,
            Event::GeneralRef(reference) => {
                check.content(at, false)?;
                let known = reference.resolve_char_ref().is_ok_and(|c| c.is_some())
                    || ["lt", "gt", "amp", "quot", "apos"].contains(&&*reference.xml10_content());
                if !known {
                    let (line, column) = line_column(text, at);
                    let entity = reference.xml10_content().chars().take(40).collect();
                    return Err(RawXmlError::Entity { line, column, entity });
                }
            }
            Event::DocType(_) => {
                let (line, column) = line_column(text, at);
                return Err(RawXmlError::DocumentType { line, column });
            }
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    check.end()
}

struct Check<'a> {
    text: &'a str,
    depth: usize,
    /// Children of the root that were met.
    seen: Vec<String>,
    root_begun: bool,
    root_ended: bool,
}

impl Check<'_> {
    fn open(&mut self, start: &BytesStart<'_>, at: usize) -> Result<(), RawXmlError> {
        let (line, column) = line_column(self.text, at);
        let name = start.name().as_ref().to_owned();
        let mut has_type = false;
        for attribute in start.attributes() {
            let malformed = |detail: String| RawXmlError::Malformed { line, column, detail };
            let attribute = attribute.map_err(|e| malformed(e.to_string()))?;
            attribute
                .normalized_value(quick_xml::XmlVersion::Explicit1_0)
                .map_err(|e| malformed(e.to_string()))?;
            has_type |= attribute.key.as_ref() == "type";
        }
        if self.root_ended {
            return Err(RawXmlError::AfterRoot { line, column });
        }
        if self.depth == RAW_XML_DEPTH_MAX {
            return Err(RawXmlError::TooDeep { line, column });
        }
        match self.depth {
            0 if name != "domain" => {
                return Err(RawXmlError::WrongRoot { found: name.chars().take(40).collect() });
            }
            0 if !has_type => return Err(RawXmlError::NoDomainType),
            0 => self.root_begun = true,
            1 => {
                if SINGLE.contains(&name.as_str()) && self.seen.contains(&name) {
                    return Err(RawXmlError::Twice { line, column, element: name });
                }
                self.seen.push(name);
            }
            2.. => {}
        }
        self.depth += 1;
        Ok(())
    }

    fn close(&mut self) {
        // The reader has checked that every end has its start.
        self.depth -= 1;
        self.root_ended = self.depth == 0;
    }

    fn content(&self, at: usize, blank: bool) -> Result<(), RawXmlError> {
        if blank || self.depth > 0 {
            return Ok(());
        }
        let (line, column) = line_column(self.text, at);
        if self.root_ended {
            return Err(RawXmlError::AfterRoot { line, column });
        }
        let detail = "text stands where <domain> must begin".to_owned();
        Err(RawXmlError::Malformed { line, column, detail })
    }

    fn end(self) -> Result<(), RawXmlError> {
        if !self.root_begun {
            return Err(RawXmlError::NoRoot);
        }
        if !self.root_ended {
            let (line, column) = line_column(self.text, self.text.len());
            let detail = "the document ends before </domain>".to_owned();
            return Err(RawXmlError::Malformed { line, column, detail });
        }
        for element in ["os", "devices"] {
            if !self.seen.iter().any(|s| s == element) {
                return Err(RawXmlError::Missing { element });
            }
        }
        Ok(())
    }
}

/// The parser's words without its name for the kind of error.
fn plain_words(error: &quick_xml::Error) -> String {
    match error {
        quick_xml::Error::Syntax(e) => e.to_string(),
        quick_xml::Error::IllFormed(e) => e.to_string(),
        other => other.to_string(),
    }
}

/// Line and column, from 1, of a byte offset; columns count characters.
fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "<?xml version='1.0'?>\n<!-- mine -->\n<domain type='kvm'>\n  <os><type>hvm</type></os>\n  \
                        <devices><disk/></devices>\n</domain>\n";

    fn check(text: &str, error: &str) {
        match check_raw_xml(text) {
            Ok(()) => panic!("taken: {text}"),
            Err(e) => assert_eq!(e.to_string(), error, "{text}"),
        }
    }

    #[test]
    fn a_domain_is_taken() {
        assert_eq!(check_raw_xml(GOOD), Ok(()));
        assert_eq!(check_raw_xml(&GOOD.replace("hvm", "&#104;v&amp;m")), Ok(()));
        let two_disks = GOOD.replace("<disk/>", "<disk/><disk/>");
        assert_eq!(check_raw_xml(&two_disks), Ok(()));
    }

    #[test]
    fn garbage_is_refused_with_its_place() {
        check("", "the document is empty; a libvirt domain begins with <domain type='…'>");
        check(
            "hello",
            "the domain XML is not well-formed at line 1, column 1: text stands where <domain> must begin",
        );
        check(
            "<domain type='kvm'>\n  <os>\n </devices>\n</domain>",
            "the domain XML is not well-formed at line 3, column 2: expected `</os>`, but `</devices>` was found",
        );
        check(
            "<domain type='kvm'>\n  <os",
            "the domain XML is not well-formed at line 2, column 3: tag not closed: `>` not found before end of \
             input",
        );
        check(
            "<domain type='kvm'>\n<os/>",
            "the domain XML is not well-formed at line 2, column 6: the document ends before </domain>",
        );
    }

    #[test]
    fn what_is_no_guest_is_refused() {
        check(
            "<network/>",
            "the document's root is <network>; a libvirt domain begins with <domain type='…'>",
        );
        check("<domain><os/><devices/></domain>", "<domain> lacks its attribute type (kvm or qemu)");
        check("<domain type='kvm'/>", "<domain> has no <os>; a guest can't be started without it");
        check(
            "<domain type='kvm'><os/></domain>",
            "<domain> has no <devices>; a guest can't be started without it",
        );
        check(&format!("{GOOD}<domain/>"), "line 7, column 1: something follows the end of <domain>");
        check(&format!("{GOOD}x"), "line 7, column 1: something follows the end of <domain>");
        check(&GOOD.replace("<devices>", "<os/><devices>"), "line 5, column 3: a second <os> in <domain>");
    }

    #[test]
    fn tricks_of_xml_are_refused() {
        check(
            "<!DOCTYPE domain [<!ENTITY a 'aaaa'>]><domain/>",
            "line 1, column 1: a document type declaration (<!DOCTYPE>) is not taken",
        );
        check(
            &GOOD.replace("hvm", "&lol;"),
            "line 4, column 13: the entity &lol; is not known; only &lt; &gt; &amp; &quot; &apos; and character \
             references are taken",
        );
        assert!(matches!(
            check_raw_xml(&GOOD.replace("<disk/>", "<disk a='&lol;'/>")),
            Err(RawXmlError::Malformed { line: 5, .. })
        ));
        assert!(matches!(
            check_raw_xml(&GOOD.replace("<disk/>", "<disk a='1' a='2'/>")),
            Err(RawXmlError::Malformed { line: 5, .. })
        ));
        let deep = format!("<domain type='kvm'>{}{}</domain>", "<a>".repeat(64), "</a>".repeat(64));
        assert!(matches!(check_raw_xml(&deep), Err(RawXmlError::TooDeep { .. })));
        let long = GOOD.replace("mine", &"x".repeat(RAW_XML_BYTES_MAX));
        assert!(matches!(check_raw_xml(&long), Err(RawXmlError::TooLong { .. })));
    }
}
