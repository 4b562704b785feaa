//! A batch of events as it lies in the database: its texts, one a line, compressed with LZ4.
//!
//! Events of one run repeat each other's keys, so that they shrink to less than a third at a cost
//! far below that of serialising them (`cargo bench -p linger --bench runs` measures the store).

use std::sync::Arc;

/// How many bytes of text are packed together. Whoever reads one event unpacks all of them.
pub(super) const PACK_BYTES: usize = 64 * 1024;

/// What no pack unpacks to, in bytes: a damaged size must not take all memory.
const LARGEST: usize = 256 << 20;

/// Texts without line breaks as one.
pub(super) fn pack<'a>(lines: impl IntoIterator<Item = &'a Arc<str>>) -> Vec<u8> {
    let mut text = Vec::new();
    for line in lines {
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
    }
    lz4_flex::compress_prepend_size(&text)
}

/// The texts again, or what is wrong with them.
pub(super) fn unpack(packed: &[u8], count: u64) -> Result<Vec<Arc<str>>, String> {
    let (size, _) =
        lz4_flex::block::uncompressed_size(packed).map_err(|error| error.to_string())?;
    if size > LARGEST {
        return Err(format!("{size} bytes of text, more than any pack has"));
    }
    let text = lz4_flex::decompress_size_prepended(packed).map_err(|error| error.to_string())?;
    let text = std::str::from_utf8(&text).map_err(|error| error.to_string())?;
    let lines: Vec<Arc<str>> = text.lines().map(Arc::from).collect();
    if lines.len() as u64 != count {
        return Err(format!("{} events where there were {count}", lines.len()));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_is_unpacked_and_damage_is_found() {
        let lines: Vec<Arc<str>> = (0..100)
            .map(|n| format!(r#"{{"seq":{n},"kind":"remark","text":"ä{n}"}}"#).into())
            .collect();
        let packed = pack(&lines);
        let plain: usize = lines.iter().map(|line| line.len() + 1).sum();
        assert!(packed.len() * 2 < plain);
        assert_eq!(unpack(&packed, 100).unwrap(), lines);
        assert!(unpack(&packed, 99).is_err());
        assert!(unpack(&packed[..packed.len() / 2], 100).is_err());
        assert!(unpack(&[], 1).is_err());
    }
}
