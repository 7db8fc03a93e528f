//! What an operator decides once for every recording.

pub mod redis;
pub mod storage;
