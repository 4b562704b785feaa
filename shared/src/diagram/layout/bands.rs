//! TCP states along the lifelines.

use crate::diagram::{scene::Band, sockets::BAND_SLOTS};

use super::frame::{BAND, BAND_GAP, Frame};

pub(super) fn bands(frame: &Frame) -> Vec<Band> {
    let mut bands = Vec::new();
    for lane in frame.lanes() {
        for slot in 0..frame.model.band_slots(lane.host).min(BAND_SLOTS) {
            let spans = frame
                .model
                .states(lane.host, slot, frame.first_us, frame.last_us);
            // Of a denser slot only some are drawn: others share a pixel row with them.
            let step = spans.len().div_ceil(frame.bounds.bands).max(1);
            for span in spans.iter().step_by(step) {
                let end_us = span.end.unwrap_or_else(|| frame.scale.end_us());
                // Clipped to the window, so that a label is in the middle of what is seen.
                let y = frame.y(span.start).max(-8.0);
                let bottom = frame.y(end_us.max(span.start)).min(frame.height + 8.0);
                if bottom < -8.0 || y > frame.height + 8.0 {
                    continue;
                }
                let height = (bottom - y).max(1.0);
                let offset = BAND_GAP + BAND * slot as f64;
                let x = if Frame::outside(lane.host) < 0.0 {
                    lane.x - offset - (BAND - 2.0)
                } else {
                    lane.x + offset
                };
                let name = span.state.as_str();
                let fits = height >= frame.measure.text_width(name) + 8.0;
                bands.push(Band {
                    host: lane.host,
                    connection: frame.model.connection_name(span).to_owned(),
                    state: span.state,
                    x,
                    width: BAND - 2.0,
                    y,
                    height,
                    label: fits.then(|| name.to_owned()),
                });
            }
        }
    }
    bands
}
