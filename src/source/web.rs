//! (to come)

pub mod capture;

/// Why a page can't be recorded.
#[derive(Debug, thiserror::Error)]
pub enum WebError {}
