fn main() {
    // Linker settings of a Node.js addon; a plain `cargo test` must not have them.
    if std::env::var_os("CARGO_FEATURE_NODE").is_some() {
        napi_build::setup();
    }
}
