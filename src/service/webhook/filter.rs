//! Event filter of a receiver.

use livekit_protocol as proto;

use super::Event;

/// Names of events. Where some are included, those alone pass; else all but the excluded ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    pub include_events: Vec<String>,
    pub exclude_events: Vec<String>,
}

impl Filter {
    pub(super) fn passes(&self, event: Event) -> bool {
        let has = |names: &[String]| names.iter().any(|name| name == event.name());
        if self.include_events.is_empty() { !has(&self.exclude_events) } else { has(&self.include_events) }
    }
}

impl From<&proto::FilterParams> for Filter {
    fn from(params: &proto::FilterParams) -> Self {
        let proto::FilterParams { include_events, exclude_events } = params.clone();
        Self { include_events, exclude_events }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn included_events_pass_alone_and_excluded_ones_do_not() {
        let filter = |include: &[&str], exclude: &[&str]| {
            let names = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect();
            Filter { include_events: names(include), exclude_events: names(exclude) }
        };
        let passing = |filter: &Filter| {
            [Event::Started, Event::Updated, Event::Ended].map(|event| filter.passes(event))
        };
        assert_eq!(passing(&filter(&[], &[])), [true; 3]);
        assert_eq!(passing(&filter(&["egress_ended"], &[])), [false, false, true]);
        assert_eq!(passing(&filter(&[], &["egress_updated"])), [true, false, true]);
        assert_eq!(passing(&filter(&["egress_started"], &["egress_started"])), [true, false, false]);
        assert_eq!(passing(&filter(&["room_started"], &[])), [false; 3]);
    }
}
