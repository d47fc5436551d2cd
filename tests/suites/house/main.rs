//! Rules that the checkout keeps and no lint checks: sources, packages, documents, examples, manifests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by a panic"
)]

mod arrows;
mod chart;
mod docs;
mod dra;
mod examples;
mod manifests;
mod modules;
mod tidy;
