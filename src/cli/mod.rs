//! Not built yet.

pub mod pretend;
