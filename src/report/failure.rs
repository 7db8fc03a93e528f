//! A recording's failure as one value, and a summary of further failures.

use super::Fault;

/// Number of further failures with their texts. The others are counted.
const TOLD: usize = 16;

/// Why a recording, or a part of it, failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Problem, next step and causes, without secrets.
    pub text: String,
    /// The side at fault, which determines the number in the report.
    pub fault: Fault,
}

impl Failure {
    pub fn new(text: impl Into<String>, fault: Fault) -> Self {
        Self { text: text.into(), fault }
    }
}

/// The failures of one recording, in the order in which they happened.
#[derive(Debug, Default)]
pub(super) struct Failures {
    texts: Vec<String>,
    further: usize,
    /// The one that is the recording's error, which `details` need not repeat.
    error: Option<String>,
}

impl Failures {
    /// Adds one. The same text twice is one failure.
    pub(super) fn add(&mut self, failure: &Failure) {
        if self.texts.contains(&failure.text) {
            return;
        }
        match self.texts.len() <= TOLD {
            true => self.texts.push(failure.text.clone()),
            false => self.further += 1,
        }
    }

    pub(super) fn set_error(&mut self, failure: &Failure) {
        self.error = Some(failure.text.clone());
    }

    /// Summary for `details`.
    pub(super) fn details(&self) -> Vec<String> {
        let others = self.texts.iter().filter(|text| self.error.as_ref() != Some(text));
        let mut details: Vec<String> = others.map(|text| format!("failed: {text}")).collect();
        match self.further {
            0 => {}
            1 => details.push("1 further failure".to_owned()),
            further => details.push(format!("{further} further failures")),
        }
        details
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_not_repeated_and_the_others_are_told_once() {
        let mut failures = Failures::default();
        for text in ["browser", "store", "browser", "store"] {
            failures.add(&Failure::new(text, Fault::Service));
        }
        assert_eq!(failures.details(), ["failed: browser", "failed: store"]);
        failures.set_error(&Failure::new("browser", Fault::Service));
        assert_eq!(failures.details(), ["failed: store"]);
    }

    #[test]
    fn a_thousand_failures_are_counted() {
        let mut failures = Failures::default();
        for number in 0..1000 {
            failures.add(&Failure::new(format!("output {number}"), Fault::Destination));
        }
        failures.set_error(&Failure::new("output 0", Fault::Destination));
        let details = failures.details();
        assert_eq!(details.len(), TOLD + 1);
        assert_eq!(details.last().unwrap(), "983 further failures");
    }
}
