//! Everything that the page asks of the browser: requests, the event stream, its address, storage,
//! frames, text widths. What the answers mean is `state`'s business.

pub mod address;
pub mod api;
pub mod frames;
pub mod measure;
pub mod page;
pub mod storage;
pub mod stream;
