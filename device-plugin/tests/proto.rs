//! The generated code is what the `.proto` files give; `UPDATE_EXPECT=1` generates it again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a failed expectation panics"
)]

use std::path::Path;

#[test]
fn generated_code_is_current() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    let (file, generated) = ("deviceplugin.proto", "v1beta1.rs");
    let descriptors = protox::compile([file], [package.join("proto")]).unwrap();
    tonic_prost_build::configure()
        .out_dir(out.path())
        .compile_fds(descriptors)
        .unwrap();
    let fresh = std::fs::read_to_string(out.path().join(generated)).unwrap();
    let fresh = fresh.replacen(
        "// This file is @generated",
        "//! Generated from `proto/`; nothing is written by hand here.\n// This file is @generated",
        1,
    );
    let checked_in = package.join("src/proto").join(generated);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&checked_in, &fresh).unwrap();
    }
    assert!(
        std::fs::read_to_string(&checked_in).unwrap() == fresh,
        "run this test with UPDATE_EXPECT=1: {generated} is out of date"
    );
}
