//! The program that a browser loads. Everything it does is in the library, which is also compiled
//! natively for its tests.

fn main() {
    #[cfg(target_arch = "wasm32")]
    linger_web::start();
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!(
        "linger-web runs in a browser; `cargo xtask play` builds it and starts the playground"
    );
}
