//! Events, as they are stored and told.

use prost::Message;
use pvc_model::event::Event;

use super::refuse::wire_time;
use crate::v1;

impl From<&Event> for v1::Event {
    fn from(event: &Event) -> Self {
        v1::Event {
            time: Some(wire_time(event.at)),
            topic: event.topic.clone(),
            text: event.text.clone(),
            actor: event.actor.clone(),
        }
    }
}

/// The bytes that the store keeps of an event.
pub fn encode_event(event: &Event) -> Vec<u8> {
    v1::Event::from(event).encode_to_vec()
}

/// A stored event, as it is told.
pub fn decode_event(bytes: &[u8]) -> Result<v1::Event, prost::DecodeError> {
    v1::Event::decode(bytes)
}
