//! What Linger's server and page share: types and pure functions.
//!
//! Nothing here performs I/O, reads a clock or knows a browser, so everything is tested natively
//! and compiles to WebAssembly as it is. The server's measurements live in `linger`, the page's
//! browser calls in `linger-web`.

pub mod diagram;
pub mod dissect;
pub mod event;
pub mod experiment;
pub mod link;
pub mod middlebox;
pub mod protocol;
pub mod rule;
pub mod theory;
pub mod units;
