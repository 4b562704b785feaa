//! From events to a picture: a [`model`](crate::diagram) of the run, a time scale, and a [`scene`]
//! of plain shapes. No DOM, no colours.

pub mod scene;
