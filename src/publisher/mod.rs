//! What goes out. Not built yet, except for what the payloads say.

pub mod payload;
