//! What has happened.

use pvc_proto::v1::Event;

use super::words::time;
use crate::output::table::{Cell, Column, render, text};

const COLUMNS: &[Column] = &[text("TIME"), text("ABOUT"), text("WHAT HAPPENED"), text("BY")];

pub fn table(events: &[Event], colour: bool) -> String {
    render(COLUMNS, events.iter().map(row).collect(), colour)
}

fn row(event: &Event) -> Vec<Cell> {
    vec![
        time(event.time.as_ref()).into(),
        event.topic.as_str().into(),
        event.text.as_str().into(),
        event.actor.as_str().into(),
    ]
}
