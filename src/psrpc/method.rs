//! Properties of a method, shared by client and server.

use std::borrow::Cow;

use super::channel;

/// One method of a service, on one topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Method {
    pub name: Cow<'static, str>,
    /// Empty: none.
    pub topic: String,
    pub claiming: Claiming,
    pub delivery: Delivery,
}

/// Whether servers offer themselves before they answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Claiming {
    Required,
    None,
}

/// Selects the servers that handle a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// Every one.
    Everyone,
    /// The first to set the request's lock.
    Queue,
}

impl Method {
    /// Servers offer themselves, the client chooses.
    #[must_use]
    pub const fn claimed(name: &'static str) -> Self {
        Self::new(name, Claiming::Required, Delivery::Everyone)
    }

    /// One server of all takes the request up, and then waits to be chosen. This is what generated
    /// services have by default.
    #[must_use]
    pub const fn queued(name: &'static str) -> Self {
        Self::new(name, Claiming::Required, Delivery::Queue)
    }

    /// Every server answers.
    #[must_use]
    pub const fn broadcast(name: &'static str) -> Self {
        Self::new(name, Claiming::None, Delivery::Everyone)
    }

    const fn new(name: &'static str, claiming: Claiming, delivery: Delivery) -> Self {
        Self { name: Cow::Borrowed(name), topic: String::new(), claiming, delivery }
    }

    /// The same on a topic; an empty topic means no topic.
    #[must_use]
    pub fn on(mut self, topic: impl Into<String>) -> Self {
        self.topic = topic.into();
        self
    }

    pub(super) fn request_channel(&self, service: &str) -> String {
        channel::request(service, &self.name, &self.topic)
    }

    pub(super) fn decision_channel(&self, service: &str) -> String {
        channel::decision(service, &self.name, &self.topic)
    }
}
