//! What the page knows, and how each action changes it.
//!
//! Everything here is pure: no browser call, no clock, no random number; what these would give
//! arrives inside the actions. So every rule of the page's behaviour has a native test. Browser
//! calls are `services`' business, pictures are `diagram`'s and `panels`'.

pub mod announce;
pub mod app;
pub mod force;
pub mod form;
pub mod keys;
pub mod load;
pub mod record;
pub mod replay;
pub mod route;
pub mod run;
#[cfg(test)]
pub(crate) mod samples;
pub mod stream;
pub mod view;
