//! HTTP/1.0 and HTTP/1.1 (RFC 9112): first lines, heads, and how long a body is.

mod body;
mod first_line;
mod head;
mod recognise;

pub use self::{
    body::{Framing, chunk_size},
    first_line::{MAX_LINE, first_line},
    head::{Head, HeaderField, Start},
    recognise::{Recognised, recognise},
};
