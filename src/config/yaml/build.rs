//! Builds the tree from the parser's events.

use std::collections::HashMap;

use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};

use super::{ConfigError, Entry, Finding, Kind, Node, Place};

/// Nesting limit of sections.
const MAX_DEPTH: usize = 32;
/// Limit of nodes in a tree: a few lines of aliases can stand for billions.
const MAX_NODES: usize = 100_000;

/// # Errors
/// For invalid YAML, a repeated key, or more than one document.
pub(super) fn root(text: &str) -> Result<Node, ConfigError> {
    let mut builder = Builder { parser: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
    let mut root = None;
    loop {
        let (event, span) = builder.next()?;
        match event {
            Event::StreamEnd => break,
            Event::DocumentStart(..) | Event::DocumentEnd => {}
            event if root.is_none() => root = Some(builder.node(event, span, 0)?),
            _ => return Err(at(span.start, "a second document begins here; only one is allowed").into()),
        }
    }
    Ok(root.unwrap_or(Node { place: Place { line: 1, column: 1 }, kind: Kind::Null }))
}

struct Builder<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), ConfigError> {
        loop {
            let next = self.parser.next_event().unwrap_or_else(|| Ok((Event::StreamEnd, Span::default())));
            match next {
                Ok((event, _)) if !is_structure(&event) => {}
                next => return next.map_err(|error| unreadable(&error).into()),
            }
        }
    }

    /// Builds the node that begins with this event.
    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, ConfigError> {
        let place = place(span.start);
        self.count(1, span.start)?;
        if depth > MAX_DEPTH {
            return Err(at(span.start, "sections are nested too deeply").into());
        }
        let anchor = event.anchor_id();
        let kind = match event {
            Event::Scalar(text, style, _, tag) => {
                let is_plain = style == ScalarStyle::Plain && tag.is_none();
                match &*text {
                    "" | "~" | "null" | "Null" | "NULL" if is_plain => Kind::Null,
                    _ => Kind::Scalar { text: text.into_owned(), is_plain },
                }
            }
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break Kind::List(items),
                        (event, span) => items.push(self.node(event, span, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(..) => self.map(depth)?,
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id).cloned() else {
                    return Err(at(span.start, "an alias inside its own anchor").into());
                };
                self.count(size(&node), span.start)?;
                return Ok(node);
            }
            _ => return Err(at(span.start, "invalid YAML").into()),
        };
        let node = Node { place, kind };
        if let Some(id) = anchor {
            self.count(size(&node), span.start)?;
            self.anchors.insert(id, node.clone());
        }
        Ok(node)
    }

    fn map(&mut self, depth: usize) -> Result<Kind, ConfigError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = match self.next()? {
                (Event::MappingEnd, _) => break,
                next => next,
            };
            let Kind::Scalar { text: key, is_plain } = self.node(event, span, depth + 1)?.kind else {
                return Err(at(span.start, "a key that is not a text").into());
            };
            let (event, value_span) = self.next()?;
            let value = self.node(event, value_span, depth + 1)?;
            if is_plain && key == "<<" {
                merged.push(value);
                continue;
            }
            if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                let problem = format!("repeated key, first set in line {}", first.place.line);
                return Err(Finding::new(Some(place(span.start)), key, problem).into());
            }
            entries.push(Entry { key, place: place(span.start), value });
        }
        for value in merged {
            merge(&mut entries, value)?;
        }
        Ok(Kind::Map(entries))
    }

    fn count(&mut self, nodes: usize, marker: Marker) -> Result<(), ConfigError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            return Err(at(marker, "too many values").into());
        }
        Ok(())
    }
}

/// `<<: *defaults`: adds the entries that are not set yet.
fn merge(entries: &mut Vec<Entry>, value: Node) -> Result<(), ConfigError> {
    match value.kind {
        Kind::Map(others) => {
            for other in others {
                if !entries.iter().any(|entry| entry.key == other.key) {
                    entries.push(other);
                }
            }
            Ok(())
        }
        Kind::List(values) => values.into_iter().try_for_each(|value| merge(entries, value)),
        Kind::Null => Ok(()),
        Kind::Scalar { .. } => Err(Finding::new(Some(value.place), "<<", "expected a section").into()),
    }
}

/// Returns whether the event is part of the tree: not a comment, not the stream's start.
fn is_structure(event: &Event<'_>) -> bool {
    let is_mark = matches!(
        event,
        Event::SequenceEnd
            | Event::MappingEnd
            | Event::DocumentStart(..)
            | Event::DocumentEnd
            | Event::StreamEnd
    );
    is_mark || event.is_node()
}

fn size(node: &Node) -> usize {
    1 + match &node.kind {
        Kind::Null | Kind::Scalar { .. } => 0,
        Kind::List(items) => items.iter().map(size).sum(),
        Kind::Map(entries) => entries.iter().map(|entry| size(&entry.value)).sum(),
    }
}

fn place(marker: Marker) -> Place {
    Place { line: marker.line(), column: marker.col() + 1 }
}

fn at(marker: Marker, problem: &str) -> Finding {
    Finding::new(Some(place(marker)), "", problem)
}

/// The parser's messages are fixed texts; none quotes the input.
fn unreadable(error: &ScanError) -> Finding {
    at(*error.marker(), &error.info())
}
