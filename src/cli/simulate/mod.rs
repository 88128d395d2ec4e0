//! stub
use clap::Args;
#[derive(Args, Clone, Debug)]
pub struct Options {}
pub fn simulate(_: &Options) -> (String, u8) {
    (String::new(), 0)
}
