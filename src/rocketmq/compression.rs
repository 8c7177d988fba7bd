//! Bodies that senders compress: zlib, which every RocketMQ client writes and reads, and LZ4 and Zstandard, which 5.x
//! clients may write. The kind is in bits 8 to 10 of `sysFlag` (`CompressionType` of Apache RocketMQ).

use std::io::{Read, Write};

use bytes::Bytes;

/// Largest body after decompression, in bytes: 32 times what a broker stores by default, so that a small hostile body
/// cannot take all memory.
const MAX_DECOMPRESSED_BYTES: u64 = 128 * 1024 * 1024;
const KIND_LZ4: i32 = 1;
const KIND_ZSTD: i32 = 2;
const KIND_ZLIB: i32 = 3;

/// Compresses with zlib, the kind that 4.9 clients read as well.
///
/// # Errors
/// Only when memory is short.
pub fn compress_zlib(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::with_capacity(body.len() / 2), flate2::Compression::new(5));
    encoder.write_all(body)?;
    encoder.finish()
}

/// Decompresses a body of the kind that `sys_flag` names.
///
/// # Errors
/// The kind is unknown, the bytes are not of it, or the result is larger than 128 MiB.
pub fn decompress(body: &[u8], sys_flag: i32) -> std::io::Result<Bytes> {
    match (sys_flag >> 8) & 7 {
        0 | KIND_ZLIB => read_bounded(flate2::read::ZlibDecoder::new(body)),
        KIND_LZ4 => read_bounded(lz4_flex::frame::FrameDecoder::new(body)),
        KIND_ZSTD => read_bounded(ruzstd::decoding::StreamingDecoder::new(body).map_err(std::io::Error::other)?),
        kind => Err(std::io::Error::other(format!("compression kind {kind} is unknown"))),
    }
}

fn read_bounded(reader: impl Read) -> std::io::Result<Bytes> {
    let mut out = Vec::new();
    reader.take(MAX_DECOMPRESSED_BYTES + 1).read_to_end(&mut out)?;
    if out.len() as u64 > MAX_DECOMPRESSED_BYTES {
        return Err(std::io::Error::other(format!("body is larger than {MAX_DECOMPRESSED_BYTES} bytes")));
    }
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zlib_and_lz4_bodies_decompress() {
        let body = b"abc".repeat(5000);
        assert_eq!(decompress(&compress_zlib(&body).unwrap(), 1).unwrap(), body);
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(&body).unwrap();
        assert_eq!(decompress(&lz4.finish().unwrap(), 1 | KIND_LZ4 << 8).unwrap(), body);
    }

    #[test]
    fn other_bytes_are_an_error() {
        for kind in 0..8 {
            assert!(decompress(b"not compressed", 1 | kind << 8).is_err(), "kind {kind}");
        }
    }
}
