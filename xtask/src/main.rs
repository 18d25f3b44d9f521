//! Project commands: test, tidy, bench, fuzz.
fn main() {}
