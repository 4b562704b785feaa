//! The diagram as its users see it: whole runs in, scenes and text out.
//!
//! Golden files are in `golden/`; `LINGER_BLESS=1` writes them anew. `LINGER_SCENES=DIR` writes each
//! golden scene as an SVG file into DIR, to be looked at.

mod bounds;
mod events;
mod golden;
mod hostile;
mod samples;
mod scale;
mod scenes;
mod sheet;
mod text;
