//! A document as a tree that keeps all it does not understand.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::Writer;
use quick_xml::events::{BytesStart, BytesText, Event};

#[derive(Clone, Debug)]
pub(super) enum Node {
    Element(Element),
    /// Text, comments and the like, as they came.
    Other(Event<'static>),
}

#[derive(Clone, Debug)]
pub(super) struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    pub children: Vec<Node>,
}

impl Element {
    pub fn new(name: &str) -> Self {
        Element { name: name.to_owned(), attributes: Vec::new(), children: Vec::new() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// With an attribute set, in its old place where it has one.
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.set(key, value);
        self
    }

    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        match self.attributes.iter_mut().find(|(k, _)| k == key) {
            Some(there) => there.1 = value.into(),
            None => self.attributes.push((key.to_owned(), value.into())),
        }
    }

    pub fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    pub fn child(mut self, child: Element) -> Self {
        self.children.push(Node::Element(child));
        self
    }

    pub fn text(mut self, text: &str) -> Self {
        self.children.push(Node::Other(Event::Text(BytesText::new(text).into_owned())));
        self
    }

    pub fn elements(&self) -> impl Iterator<Item = &Element> {
        self.children.iter().filter_map(|n| match n {
            Node::Element(e) => Some(e),
            Node::Other(_) => None,
        })
    }

    pub fn elements_mut(&mut self) -> impl Iterator<Item = &mut Element> {
        self.children.iter_mut().filter_map(|n| match n {
            Node::Element(e) => Some(e),
            Node::Other(_) => None,
        })
    }

    pub fn find(&self, name: &str) -> Option<&Element> {
        self.elements().find(|e| e.name == name)
    }

    /// The first child of that name; made where there is none.
    pub fn find_or_add(&mut self, name: &str) -> &mut Element {
        let at = self.children.iter().position(|n| matches!(n, Node::Element(e) if e.name == name));
        let at = at.unwrap_or_else(|| {
            self.children.push(Node::Element(Element::new(name)));
            self.children.len() - 1
        });
        match &mut self.children[at] {
            Node::Element(e) => e,
            Node::Other(_) => unreachable!("position {at} was found by its element"),
        }
    }

    /// Puts `child` in the place of the first of its name, or last.
    pub fn replace(&mut self, child: Element) {
        let name = child.name.clone();
        *self.find_or_add(&name) = child;
    }

    /// Drops the children that are `unwanted`.
    pub fn drop_elements(&mut self, unwanted: impl Fn(&Element) -> bool) {
        self.children.retain(|n| !matches!(n, Node::Element(e) if unwanted(e)));
    }

    pub fn write(&self, writer: &mut Writer<Vec<u8>>) -> std::io::Result<()> {
        let mut start = BytesStart::new(self.name.as_str());
        for (key, value) in &self.attributes {
            start.push_attribute((key.as_str(), value.as_str()));
        }
        if self.children.is_empty() {
            return writer.write_event(Event::Empty(start));
        }
        let end = start.to_end().into_owned();
        writer.write_event(Event::Start(start))?;
        for child in &self.children {
            match child {
                Node::Element(e) => e.write(writer)?,
                Node::Other(event) => writer.write_event(event.borrow())?,
            }
        }
        writer.write_event(Event::End(end))
    }
}

/// The root element. What stands outside of it is dropped.
pub(super) fn parse(text: &str) -> Result<Element, quick_xml::Error> {
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Element> = Vec::new();
    loop {
        let done = match reader.read_event()? {
            Event::Start(start) => {
                open.push(begin(&start)?);
                continue;
            }
            Event::Empty(start) => begin(&start)?,
            Event::End(_) => match open.pop() {
                Some(element) => element,
                None => continue,
            },
            Event::Eof => return Ok(open.into_iter().next().unwrap_or_else(|| Element::new(""))),
            other => {
                if let Some(parent) = open.last_mut() {
                    parent.children.push(Node::Other(other.into_owned()));
                }
                continue;
            }
        };
        match open.last_mut() {
            Some(parent) => parent.children.push(Node::Element(done)),
            None => return Ok(done),
        }
    }
}

fn begin(start: &BytesStart<'_>) -> Result<Element, quick_xml::Error> {
    let mut element = Element::new(start.name().as_ref());
    for attribute in start.attributes() {
        let attribute = attribute?;
        let value: Cow<'_, str> = attribute.normalized_value(quick_xml::XmlVersion::Explicit1_0)?;
        element.attributes.push((attribute.key.as_ref().to_owned(), value.into_owned()));
    }
    Ok(element)
}
