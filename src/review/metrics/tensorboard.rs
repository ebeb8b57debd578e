//! TensorBoard's event files: their scalars.
//!
//! The framing is that of TFRecord (tensorflow/core/lib/io/record_writer.h and lib/hash/crc32c.h): a length of 8 bytes,
//! its masked CRC-32C, the data and their masked CRC-32C, little endian. The data are the protocol buffers of
//! tensorflow/core/util/event.proto and framework/{summary,tensor,types}.proto; only the fields named here are read.

use crc::{CRC_32_ISCSI, Crc};

use super::curve::{Collector, Reading};

const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Every scalar of the file by its tag, with its step. A file that another program is still writing ends within a
/// record; that is damage too, as nothing tells it from one that was cut.
pub fn read(bytes: &[u8]) -> Reading {
    let mut collector = Collector::default();
    let (mut rest, mut step_name) = (bytes, None);
    let damage = loop {
        if rest.is_empty() {
            break None;
        }
        let Some((data, after)) = record(rest) else {
            break Some(format!("damaged after {} bytes", bytes.len() - rest.len()));
        };
        rest = after;
        let step_name = match step_name {
            Some(name) => name,
            None => match collector.name("step") {
                Ok(name) => *step_name.insert(name),
                Err(why) => break Some(why),
            },
        };
        if let Err(why) = event(&mut collector, data, step_name) {
            break Some(why);
        }
    };
    collector.finish(damage)
}

/// The data of the first record, and what follows it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(8)?;
    let (check, rest) = rest.split_at_checked(4)?;
    if masked(head).to_le_bytes() != check {
        return None;
    }
    let length = u64::from_le_bytes(head.try_into().ok()?);
    let (data, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let (check, rest) = rest.split_at_checked(4)?;
    (masked(data).to_le_bytes() == check).then_some((data, rest))
}

/// The checksum as TFRecord keeps it: turned and shifted, so that a checksum of data with checksums is no weaker.
fn masked(bytes: &[u8]) -> u32 {
    CRC32C
        .checksum(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

/// `Event`: step = 2, summary = 5. An event that makes no sense gives nothing.
fn event(collector: &mut Collector, data: &[u8], step_name: usize) -> Result<(), String> {
    let (mut step, mut summary) = (0i64, None);
    for field in Fields(data) {
        match field {
            (2, Field::Number(number)) => step = number as i64,
            (5, Field::Bytes(bytes)) => summary = Some(bytes),
            _ => {}
        }
    }
    // `Summary`: value = 1, repeated.
    for field in Fields(summary.unwrap_or_default()) {
        if let (1, Field::Bytes(bytes)) = field
            && let Some((tag, value)) = scalar(bytes)
        {
            let start = collector.begin();
            let name = collector.name(tag)?;
            if name == step_name {
                continue;
            }
            collector.add(step_name, step as f64)?;
            collector.add(name, value)?;
            collector.end(start);
        }
    }
    Ok(())
}

/// `Summary.Value`: tag = 1, simple_value = 2, tensor = 8.
fn scalar(bytes: &[u8]) -> Option<(&str, f64)> {
    let (mut tag, mut value) = (None, None);
    for field in Fields(bytes) {
        match field {
            (1, Field::Bytes(bytes)) => tag = std::str::from_utf8(bytes).ok(),
            (2, Field::Four(bytes)) => value = Some(f32::from_le_bytes(bytes).into()),
            (8, Field::Bytes(bytes)) => value = value.or(tensor(bytes)),
            _ => {}
        }
    }
    Some((tag.filter(|tag| !tag.is_empty())?, value?))
}

/// `TensorProto`: dtype = 1, tensor_content = 4, float_val = 5, double_val = 6, int_val = 7, int64_val = 10,
/// bool_val = 11, half_val = 13. Only a tensor of one number is a scalar.
fn tensor(bytes: &[u8]) -> Option<f64> {
    let (mut kind, mut content, mut values) = (0, None, Vec::new());
    for (name, field) in Fields(bytes) {
        match (name, field) {
            (1, Field::Number(number)) => kind = number,
            (4, Field::Bytes(bytes)) => content = Some(bytes),
            (5, Field::Four(bytes)) => values.push(f32::from_le_bytes(bytes).into()),
            (5, Field::Bytes(bytes)) => {
                values.push(f32::from_le_bytes(bytes.try_into().ok()?).into())
            }
            (6, Field::Eight(bytes)) => values.push(f64::from_le_bytes(bytes)),
            (6, Field::Bytes(bytes)) => values.push(f64::from_le_bytes(bytes.try_into().ok()?)),
            (7 | 10 | 11 | 13, Field::Number(number)) => values.push(integer(kind, number)?),
            (7 | 10 | 11 | 13, Field::Bytes(bytes)) => {
                let (number, rest) = varint(bytes)?;
                values.push(integer(kind, number).filter(|_| rest.is_empty())?);
            }
            _ => {}
        }
        if values.len() > 1 {
            return None;
        }
    }
    match content {
        Some(bytes) if !bytes.is_empty() => raw(kind, bytes),
        _ => values.pop(),
    }
}

/// A number that the format writes as a varint: integers, and the bits of half-precision ones.
fn integer(kind: u64, number: u64) -> Option<f64> {
    Some(match kind {
        3..=6 | 9 => number as i64 as f64,
        10 => f64::from(u8::from(number != 0)),
        14 | 19 => half(kind, number as u16),
        _ => return None,
    })
}

/// One number as it lies in memory, by the `DataType` of types.proto: float = 1, double = 2, int32 = 3, uint8 = 4,
/// int16 = 5, int8 = 6, int64 = 9, bool = 10, bfloat16 = 14, half = 19.
fn raw(kind: u64, bytes: &[u8]) -> Option<f64> {
    Some(match kind {
        1 => f32::from_le_bytes(bytes.try_into().ok()?).into(),
        2 => f64::from_le_bytes(bytes.try_into().ok()?),
        3 => i32::from_le_bytes(bytes.try_into().ok()?).into(),
        4 | 10 => u8::from_le_bytes(bytes.try_into().ok()?).into(),
        5 => i16::from_le_bytes(bytes.try_into().ok()?).into(),
        6 => i8::from_le_bytes(bytes.try_into().ok()?).into(),
        9 => i64::from_le_bytes(bytes.try_into().ok()?) as f64,
        14 | 19 => half(kind, u16::from_le_bytes(bytes.try_into().ok()?)),
        _ => return None,
    })
}

/// bfloat16 (14) is the upper half of a float; half (19) is IEEE 754's binary16.
fn half(kind: u64, bits: u16) -> f64 {
    if kind == 14 {
        return f32::from_bits(u32::from(bits) << 16).into();
    }
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    }
}

/// The fields of a message, up to its end or to what makes no sense
/// (<https://protobuf.dev/programming-guides/encoding/>).
struct Fields<'a>(&'a [u8]);

enum Field<'a> {
    Number(u64),
    Eight([u8; 8]),
    Four([u8; 4]),
    Bytes(&'a [u8]),
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Field<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, rest) = varint(self.0)?;
        let (field, rest) = match key & 7 {
            0 => {
                let (number, rest) = varint(rest)?;
                (Field::Number(number), rest)
            }
            1 => {
                let (bytes, rest) = rest.split_first_chunk()?;
                (Field::Eight(*bytes), rest)
            }
            2 => {
                let (length, rest) = varint(rest)?;
                let (bytes, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                (Field::Bytes(bytes), rest)
            }
            5 => {
                let (bytes, rest) = rest.split_first_chunk()?;
                (Field::Four(*bytes), rest)
            }
            _ => return None,
        };
        self.0 = rest;
        Some((key >> 3, field))
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0u64;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        number |= u64::from(byte & 127) << (7 * index);
        if byte & 128 == 0 {
            return Some((number, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Written by TensorBoard 2.21's `EventFileWriter`: four events with scalars in every form, a list and a text.
    const FILE: &[u8] = include_bytes!("testdata/scalars.tfevents");

    #[test]
    fn scalars_of_every_kind_are_read() {
        let (curves, damage) = read(FILE);
        assert_eq!(damage, None);
        let names: Vec<&str> = curves.keys().map(String::as_str).collect();
        assert_eq!(names, ["train/loss", "acc", "big", "count", "half"]);
        let loss = &curves["train/loss"];
        assert_eq!(loss.axis, "step");
        assert_eq!(loss.steps, [100.0, 200.0, 300.0, 400.0]);
        assert_eq!(loss.values[..3], [0.5, 0.25, 0.125]);
        assert!(loss.last().is_nan());
        assert_eq!(curves["acc"].values, [0.25, 0.5, 0.75]);
        assert_eq!(curves["big"].last(), 1.0);
        assert_eq!(curves["count"].values, [-1.0, -2.0, -3.0]);
        assert_eq!(curves["half"].values, [-0.125, -0.25, -0.375]);
    }

    #[test]
    fn what_stands_before_the_damage_is_kept() {
        let (curves, damage) = read(&FILE[..FILE.len() - 1]);
        assert_eq!(curves["train/loss"].values, [0.5, 0.25, 0.125]);
        assert!(damage.is_some_and(|why| why.starts_with("damaged after ")));
        let mut turned = FILE.to_vec();
        let middle = turned.len() / 2;
        turned[middle] ^= 1;
        assert!(read(&turned).1.is_some());
    }

    proptest! {
        #[test]
        fn any_event_is_survived(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut file = (data.len() as u64).to_le_bytes().to_vec();
            file.extend(masked(&file).to_le_bytes());
            file.extend(&data);
            file.extend(masked(&data).to_le_bytes());
            let _ = read(&file);
            let _ = read(&data);
        }
    }
}
