//! Compresses the finished front-end once, so that the server never has to.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Endings of files whose content is compressed already.
const COMPRESSED: [&str; 6] = ["br", "gz", "png", "jpg", "woff2", "webp"];

/// Sizes of one file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// As it is.
    pub(crate) plain: u64,
    /// As brotli; the plain size where it was not worth it.
    pub(crate) brotli: u64,
    /// As gzip; the plain size where it was not worth it.
    pub(crate) gzip: u64,
}

/// Writes `FILE.br` and `FILE.gz` beside a file, each only where it is smaller than the file.
///
/// # Errors
/// When the file cannot be read or the others cannot be written.
pub(crate) fn beside(path: &Path) -> Result<Sizes> {
    let content = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let plain = content.len() as u64;
    let mut sizes = Sizes {
        plain,
        brotli: plain,
        gzip: plain,
    };
    if COMPRESSED
        .iter()
        .any(|ending| path.extension() == Some(ending.as_ref()))
    {
        return Ok(sizes);
    }
    for (ending, packed, size) in [
        ("br", brotli(&content)?, &mut sizes.brotli),
        ("gz", gzip(&content)?, &mut sizes.gzip),
    ] {
        if packed.len() < content.len() {
            *size = packed.len() as u64;
            let mut name = path.as_os_str().to_owned();
            name.push(".");
            name.push(ending);
            let name = PathBuf::from(name);
            fs::write(&name, packed).with_context(|| format!("write {}", name.display()))?;
        }
    }
    Ok(sizes)
}

fn brotli(content: &[u8]) -> Result<Vec<u8>> {
    let params = brotli::enc::BrotliEncoderParams {
        quality: 11,
        lgwin: 22,
        size_hint: content.len(),
        ..Default::default()
    };
    let mut packed = Vec::new();
    brotli::BrotliCompress(&mut &content[..], &mut packed, &params).context("brotli")?;
    Ok(packed)
}

fn gzip(content: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).context("gzip")?;
    encoder.finish().context("gzip")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_was_compressed_reads_back() {
        let content = b"the same words again, the same words again, ".repeat(50);
        let mut unpacked = Vec::new();
        brotli::BrotliDecompress(&mut &brotli(&content).unwrap()[..], &mut unpacked).unwrap();
        assert_eq!(unpacked, content);
        let packed = gzip(&content).unwrap();
        assert!(packed.len() < content.len());
        unpacked.clear();
        flate2::read::GzDecoder::new(&packed[..])
            .read_to_end(&mut unpacked)
            .unwrap();
        assert_eq!(unpacked, content);
    }
}
