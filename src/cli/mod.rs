//! The commands beside the service itself.

pub mod check;

pub mod pretend;
