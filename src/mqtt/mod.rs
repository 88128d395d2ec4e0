//! The connection to the broker. Not built yet, except for its topics.

pub mod topics;
