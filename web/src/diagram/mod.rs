//! Painting a [`Scene`](linger_shared::diagram::scene::Scene) as SVG.
//!
//! What is where was decided by the layout; here shapes get elements, classes and heads. Colours
//! are the style sheet's (`static/css/tokens.css`).

pub(crate) mod canvas;
mod handling;
pub mod hit;
pub mod paint;
pub(crate) mod sample;
pub mod summary;
