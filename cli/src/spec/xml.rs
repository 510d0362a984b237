//! What the CLI needs to know of a libvirt domain XML: that it is one, and its vCPUs and memory.
//! Everything else in it is left as it is; the cluster judges it.

use quick_xml::Reader;
use quick_xml::events::Event;

/// Why a text is not a domain XML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    #[error("it is not well-formed XML: {0}")]
    NotXml(String),
    #[error("its root element is <{0}>, not <domain>")]
    NotDomain(String),
    #[error("it holds no element")]
    Empty,
    #[error("<{element}> holds \"{text}\", which is not a size in libvirt's units")]
    BadFigure { element: &'static str, text: String },
}

/// What a domain XML says of its size; `None` where it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DomainSize {
    pub vcpus: Option<u32>,
    pub memory_mib: Option<u64>,
}

/// Reads the whole text, so that what is not well-formed is refused here.
pub fn read(text: &str) -> Result<DomainSize, XmlError> {
    let not_xml = |e: &dyn std::fmt::Display| XmlError::NotXml(e.to_string());
    let mut reader = Reader::from_str(text);
    let mut size = DomainSize::default();
    let mut depth = 0_usize;
    let mut seen_root = false;
    let mut unit = String::new();
    let mut inside: Option<&'static str> = None;
    loop {
        match reader.read_event().map_err(|e| not_xml(&e))? {
            Event::Start(start) => {
                let name = start.name().as_ref().to_owned();
                if depth == 0 {
                    root(&name, seen_root)?;
                    seen_root = true;
                }
                inside = match (depth, name.as_str()) {
                    (1, "memory") => Some("memory"),
                    (1, "vcpu") => Some("vcpu"),
                    _ => None,
                };
                unit.clear();
                for attribute in start.attributes() {
                    let attribute = attribute.map_err(|e| not_xml(&e))?;
                    if attribute.key.as_ref() == "unit" {
                        unit = attribute.value.to_string();
                    }
                }
                depth += 1;
            }
            Event::Empty(start) if depth == 0 => {
                root(start.name().as_ref(), seen_root)?;
                seen_root = true;
            }
            Event::End(_) => {
                depth = depth.saturating_sub(1);
                inside = None;
            }
            Event::Text(content) => {
                let content = content.as_ref().trim().to_owned();
                match inside {
                    Some("memory") if !content.is_empty() => {
                        size.memory_mib = Some(memory_mib(&content, &unit)?);
                    }
                    Some("vcpu") if !content.is_empty() => {
                        let bad = |_| XmlError::BadFigure { element: "vcpu", text: content.clone() };
                        size.vcpus = Some(content.parse().map_err(bad)?);
                    }
                    _ if depth == 0 && !content.is_empty() => {
                        return Err(XmlError::NotXml(format!("text outside of the root element: {content}")));
                    }
                    _ => {}
                }
            }
            Event::Eof if depth > 0 => return Err(XmlError::NotXml("it ends too early".to_owned())),
            Event::Eof if !seen_root => return Err(XmlError::Empty),
            Event::Eof => return Ok(size),
            _ => {}
        }
    }
}

fn root(name: &str, seen: bool) -> Result<(), XmlError> {
    if seen {
        return Err(XmlError::NotXml("it has more than one root element".to_owned()));
    }
    if name == "domain" { Ok(()) } else { Err(XmlError::NotDomain(name.to_owned())) }
}

/// libvirt's units: KiB when there is none; "k" and "KiB" are binary, "KB" is decimal.
fn memory_mib(text: &str, unit: &str) -> Result<u64, XmlError> {
    let bad =
        || XmlError::BadFigure { element: "memory", text: format!("{text} {unit}").trim_end().to_owned() };
    let factor: u64 = match unit {
        "b" | "bytes" => 1,
        "KB" => 1000,
        "" | "k" | "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "M" | "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "G" | "GiB" => 1 << 30,
        "TB" => 1_000_000_000_000,
        "T" | "TiB" => 1 << 40,
        _ => return Err(bad()),
    };
    let bytes = text.parse::<u64>().ok().and_then(|count| count.checked_mul(factor)).ok_or_else(bad)?;
    Ok(bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_size() {
        let text = "<?xml version='1.0'?>\n<domain type='kvm'>\n <memory unit='GiB'>2</memory>\n\
                    <vcpu placement='static'>4</vcpu><devices><memory model='dimm'>x</memory></devices></domain>\n";
        assert_eq!(read(text), Ok(DomainSize { vcpus: Some(4), memory_mib: Some(2048) }));
        assert_eq!(
            read("<domain><memory>524288</memory></domain>"),
            Ok(DomainSize { vcpus: None, memory_mib: Some(512) })
        );
    }

    #[test]
    fn garbage_is_refused() {
        assert_eq!(read("<network/>"), Err(XmlError::NotDomain("network".to_owned())));
        assert_eq!(read(""), Err(XmlError::Empty));
        assert!(matches!(read("garbage"), Err(XmlError::NotXml(_))));
        assert!(matches!(read("<domain><a></domain>"), Err(XmlError::NotXml(_))));
        assert!(matches!(read("<domain><memory>1"), Err(XmlError::NotXml(_))));
        assert_eq!(
            read("<domain><memory unit='stone'>2</memory></domain>").unwrap_err().to_string(),
            "<memory> holds \"2 stone\", which is not a size in libvirt's units"
        );
    }
}
