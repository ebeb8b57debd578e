//! What the program carries in a smaller form.

use std::io::Read;

use flate2::read::DeflateDecoder;

/// The text that `build.rs` has packed.
pub fn unpacked(packed: &[u8]) -> String {
    let mut text = String::new();
    DeflateDecoder::new(packed)
        .read_to_string(&mut text)
        .expect("it is what this very build has packed, and tests read all of it");
    text
}
