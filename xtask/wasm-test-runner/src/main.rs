//! The runner of wasm-bindgen's own tests, built from the version that Cargo.lock names.
//!
//! `cargo xtask test web` gives it to cargo as the runner of WebAssembly tests. Being a package of
//! the workspace, it needs no separate installation and cannot differ from the bindings that it
//! reads.

fn main() -> anyhow::Result<()> {
    wasm_bindgen_cli::wasm_bindgen_test_runner::run_cli_with_args(std::env::args_os())
}
