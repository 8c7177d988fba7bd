//! Values in the binary form of the log's rows.
//!
//! Source: MySQL's `sql/log_event.cc` (`log_event_print_value`), `sql-common/my_time.cc` and `strings/decimal.cc`.

use serde_json::Value;

use super::json;
use super::log::{Charset, Column};
use super::value::{self, base64};

/// From 0, so that packed times are not negative in the log.
const TIME_OFFSET: i64 = 0x80_0000;
const TIME_OFFSET_MICROS: i64 = 0x8000_0000_0000;
const DATETIME_OFFSET: i64 = 0x80_0000_0000;
/// Bytes of a group of so many decimal digits.
const DIGIT_BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
/// Decimal digits of a whole group.
const GROUP: usize = 9;

/// Bytes that are read from the front.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of up to eight bytes, the lowest first.
    pub fn unsigned(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// The same, as a length.
    pub fn size(&mut self, bytes: usize) -> Option<usize> {
        usize::try_from(self.unsigned(bytes)?).ok()
    }

    /// A number of up to eight bytes with a sign, the lowest first.
    pub fn signed(&mut self, bytes: usize) -> Option<i64> {
        let unused = 64 - 8 * u32::try_from(bytes).ok()?;
        Some((self.unsigned(bytes)? << unused).cast_signed() >> unused)
    }

    /// A number of up to eight bytes, the highest first.
    pub fn big(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// A number that says itself how long it is.
    pub fn packed(&mut self) -> Option<usize> {
        match self.size(1)? {
            short @ 0..=250 => Some(short),
            252 => self.size(2),
            253 => self.size(3),
            254 => self.size(8),
            _ => None,
        }
    }
}

/// Reads a value that is not null, and tells about how many bytes it took; none where it does not follow the format.
#[must_use]
pub fn value(column: &Column, input: &mut Input<'_>) -> Option<(Value, usize)> {
    let before = input.0.len();
    let value = read(column, input)?;
    Some((value, before - input.0.len()))
}

fn read(column: &Column, input: &mut Input<'_>) -> Option<Value> {
    let [low, high] = column.meta;
    Some(match column.kind {
        1 => whole(column, input, 1)?,
        2 => whole(column, input, 2)?,
        9 => whole(column, input, 3)?,
        3 => whole(column, input, 4)?,
        8 => whole(column, input, 8)?,
        4 => value::float(f32::from_bits(u32::try_from(input.unsigned(4)?).ok()?)),
        5 => value::double(f64::from_bits(input.unsigned(8)?)),
        // The year 0 is 0, all others count from 1900.
        13 => match input.unsigned(1)? {
            0 => 0_u64.into(),
            year => (1900 + year).into(),
        },
        246 => value::decimal(&decimal(input, low.into(), high.into())?),
        10 | 14 => {
            let packed = u32::try_from(input.unsigned(3)?).ok()?;
            value::date(packed >> 9, packed >> 5 & 15, packed & 31).into()
        }
        7 => timestamp(input.unsigned(4)?, 0),
        17 => {
            let seconds = input.big(4)?;
            timestamp(seconds, micros(input, low)?)
        }
        12 => {
            let packed = input.unsigned(8)?;
            let part = |divisor: u64, modulus: u64| u32::try_from(packed / divisor % modulus).unwrap_or_default();
            let day = (part(10_000_000_000, 10_000), part(100_000_000, 100), part(1_000_000, 100));
            value::moment(day, (part(10_000, 100), part(100, 100), part(1, 100)), 0, "")
        }
        18 => {
            let seconds = i64::try_from(input.big(5)?).ok()? - DATETIME_OFFSET;
            let (day, time, micros) = packed_datetime(seconds << 24 | i64::from(micros(input, low)?));
            value::moment(day, time, micros, "")
        }
        11 => {
            let packed = input.signed(3)?;
            let part = |divisor: i64| u32::try_from(packed.abs() / divisor).unwrap_or_default();
            value::time(packed < 0, part(10_000), part(100) % 100, part(1) % 100, 0)
        }
        19 => time2(input, low)?,
        15 | 253 => {
            let width = if u16::from_le_bytes([low, high]) < 256 { 1 } else { 2 };
            let length = input.size(width)?;
            characters(column, input.take(length)?)
        }
        254 => {
            // The length of long ones has two bits in the type.
            let length = usize::from(high) | (usize::from(low & 0x30) ^ 0x30) << 4;
            let taken = input.size(if length < 256 { 1 } else { 2 })?;
            let bytes = input.take(taken)?;
            if column.charset != Charset::Binary {
                return Some(characters(column, bytes));
            }
            // Zeros at the end are left out in the log.
            let mut padded = bytes.to_vec();
            padded.resize(length.max(bytes.len()), 0);
            base64(&padded)
        }
        249..=252 | 255 => {
            let length = input.size(low.into())?;
            characters(column, input.take(length)?)
        }
        245 => {
            let length = input.size(low.into())?;
            json::document(input.take(length)?)?
        }
        16 => value::bits(input.take(usize::from(high) + usize::from(low).div_ceil(8))?),
        247 => {
            let number = input.size(high.into())?;
            // 0 stands for a value that was refused, which is the empty text.
            number.checked_sub(1).and_then(|number| column.values.get(number)).cloned().unwrap_or_default().into()
        }
        248 => {
            let set = input.unsigned(high.into())?;
            let names = column.values.iter().enumerate().filter(|(number, _)| set >> number & 1 == 1);
            names.map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(",").into()
        }
        _ => return None,
    })
}

fn whole(column: &Column, input: &mut Input<'_>, bytes: usize) -> Option<Value> {
    Some(if column.is_unsigned { input.unsigned(bytes)?.into() } else { input.signed(bytes)?.into() })
}

fn characters(column: &Column, bytes: &[u8]) -> Value {
    match column.charset {
        Charset::Binary => base64(bytes),
        charset => {
            let text = charset.text(bytes);
            if column.is_json { value::document(&text) } else { text.into() }
        }
    }
}

/// Microseconds with so many digits.
fn micros(input: &mut Input<'_>, digits: u8) -> Option<u32> {
    let number = u32::try_from(input.big(usize::from(digits).div_ceil(2))?).ok()?;
    Some(match digits {
        0 => 0,
        1 | 2 => number * 10_000,
        3 | 4 => number * 100,
        _ => number,
    })
}

fn timestamp(seconds: u64, micros: u32) -> Value {
    if seconds == 0 && micros == 0 {
        return value::moment((0, 0, 0), (0, 0, 0), 0, "");
    }
    let moment = jiff::Timestamp::from_second(i64::try_from(seconds).unwrap_or_default()).unwrap_or_default();
    let moment = moment.to_zoned(jiff::tz::TimeZone::UTC);
    let part = |number: i8| u32::try_from(number).unwrap_or_default();
    let year = u32::try_from(moment.year()).unwrap_or_default();
    let time = (part(moment.hour()), part(moment.minute()), part(moment.second()));
    value::moment((year, part(moment.month()), part(moment.day())), time, micros, "Z")
}

/// A time with so many digits of microseconds: a negative one is written as the whole number below it, and what is above that.
fn time2(input: &mut Input<'_>, digits: u8) -> Option<Value> {
    let bytes = usize::from(digits).div_ceil(2);
    if bytes == 3 {
        return Some(packed_time(i64::try_from(input.big(6)?).ok()? - TIME_OFFSET_MICROS));
    }
    let mut seconds = i64::try_from(input.big(3)?).ok()? - TIME_OFFSET;
    let mut part = i64::try_from(input.big(bytes)?).ok()?;
    if seconds < 0 && part > 0 {
        seconds += 1;
        part -= 1 << (8 * bytes);
    }
    let micros = part * if bytes == 1 { 10_000 } else { 100 };
    Some(packed_time((seconds << 24) + micros))
}

/// A time with its microseconds in the lower 24 bits.
#[must_use]
pub fn packed_time(packed: i64) -> Value {
    let size = packed.unsigned_abs();
    let part = |shift: u32, bits: u32| u32::try_from(size >> shift & ((1 << bits) - 1)).unwrap_or_default();
    value::time(packed < 0, part(36, 10), part(30, 6), part(24, 6), part(0, 24))
}

/// Year, month and day, then hour, minute and second, then the microseconds.
pub type DateParts = ((u32, u32, u32), (u32, u32, u32), u32);

/// A date with its time in a packed number.
#[must_use]
pub fn packed_datetime(packed: i64) -> DateParts {
    let size = packed.unsigned_abs();
    let part = |shift: u32, bits: u32| u32::try_from(size >> shift & ((1 << bits) - 1)).unwrap_or_default();
    let year_month = part(46, 18);
    ((year_month / 13, year_month % 13, part(41, 5)), (part(36, 5), part(30, 6), part(24, 6)), part(0, 24))
}

/// A decimal number as text: groups of nine digits in four bytes each, those of a negative one inverted.
#[must_use]
pub fn decimal(input: &mut Input<'_>, precision: usize, scale: usize) -> Option<String> {
    let whole = precision.checked_sub(scale)?;
    let size = |digits: usize| digits / GROUP * 4 + DIGIT_BYTES[digits % GROUP];
    let mut bytes = input.take(size(whole) + size(scale))?.to_vec();
    let is_negative = bytes.first()? & 0x80 == 0;
    bytes[0] ^= 0x80;
    if is_negative {
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
    }
    let rest = &mut Input(&bytes);
    let mut digits = String::new();
    let mut group = |count: usize, digits: &mut String| -> Option<()> {
        if count > 0 {
            digits.push_str(&format!("{:0count$}", rest.big(DIGIT_BYTES[count])?));
        }
        Some(())
    };
    group(whole % GROUP, &mut digits)?;
    (0..whole / GROUP).try_for_each(|_| group(GROUP, &mut digits))?;
    let mut fraction = String::new();
    (0..scale / GROUP).try_for_each(|_| group(GROUP, &mut fraction))?;
    group(scale % GROUP, &mut fraction)?;
    let digits = digits.trim_start_matches('0');
    let (sign, digits) = (if is_negative { "-" } else { "" }, if digits.is_empty() { "0" } else { digits });
    Some(if fraction.is_empty() { format!("{sign}{digits}") } else { format!("{sign}{digits}.{fraction}") })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn column(kind: u8, meta: [u8; 2], charset: Charset) -> Column {
        Column { name: "c".into(), kind, meta, is_unsigned: false, charset, values: Vec::new(), is_json: false }
    }

    #[test]
    fn values_are_read() {
        let set = Column { values: vec!["a".into(), "b".into(), "c".into()], ..column(248, [248, 1], Charset::Utf8) };
        let year = column(13, [0, 0], Charset::Binary);
        let unsigned = Column { is_unsigned: true, ..column(9, [0, 0], Charset::Binary) };
        let (binary, utf8) = (Charset::Binary, Charset::Utf8);
        for (column, bytes, expected) in [
            (column(9, [0, 0], binary), &[0xff, 0xff, 0xff][..], json!(-1)),
            (unsigned, &[0xff, 0xff, 0xff], json!(0xff_ffff)),
            (year.clone(), &[0], json!(0)),
            (year, &[126], json!(2026)),
            (column(17, [0, 0], binary), &[0, 0, 0, 0], json!("0000-00-00 00:00:00")),
            (column(17, [1, 0], binary), &[0x65, 0x53, 0xf1, 0x00, 50], json!("2023-11-14T22:13:20.5Z")),
            (column(18, [0, 0], binary), &[0x99, 0xbb, 0x34, 0x80, 0x00], json!("2026-10-26T08:00:00")),
            (column(19, [1, 0], binary), &[0x7f, 0xff, 0xff, 0xce], json!("-00:00:00.5")),
            (column(19, [0, 0], binary), &[0x80, 0x10, 0x00], json!("01:00:00")),
            (column(254, [254, 4], binary), &[1, 7], json!("BwAAAA==")),
            (column(15, [16, 0], utf8), &[2, b'h', b'i'], json!("hi")),
            (column(15, [0, 2], Charset::Latin1), &[1, 0, 0x80], json!("€")),
            (column(246, [5, 2], binary), &[0x7f, 0xfe, 0xcd], json!(-1.5)),
            (column(16, [1, 1], binary), &[1, 2], json!(258)),
            (set, &[5], json!("a,c")),
        ] {
            let input = &mut Input(bytes);
            assert_eq!(read(&column, input), Some(expected), "{column:?}");
            assert_eq!(input.0, &[] as &[u8], "{column:?}");
        }
        assert_eq!(read(&column(3, [0, 0], binary), &mut Input(&[1])), None, "it ends too early");
    }

    #[test]
    fn decimals_keep_each_digit() {
        let max = [0x89, 0x07, 0x5b, 0xcd, 0x15, 0x07, 0x5b, 0xcd, 0x15];
        assert_eq!(decimal(&mut Input(&max), 19, 9).as_deref(), Some("9123456789.123456789"));
        let negative: Vec<u8> = max.iter().map(|byte| !byte).collect();
        assert_eq!(decimal(&mut Input(&negative), 19, 9).as_deref(), Some("-9123456789.123456789"));
        assert_eq!(decimal(&mut Input(&[0x80, 0x32]), 3, 2).as_deref(), Some("0.50"));
    }
}
