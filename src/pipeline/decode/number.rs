//! The numbers of a JSON document, most of which are short.

const POWERS: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// The first place from `at` on that is no space.
#[inline]
pub(super) fn behind_space(document: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\t' | b'\r') = document.get(at) {
        at += 1;
    }
    at
}

/// Appends the digits at `at` to `value`, which wraps behind the nineteenth; and where they end.
#[inline]
pub(super) fn digits(document: &[u8], mut at: usize, mut value: u64) -> (u64, usize) {
    while let Some(byte) = document.get(at) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (value, at)
}

/// A number of at most 15 digits and without an exponent, and where it ends; `None` for anything else. Such
/// digits and such powers of ten are exact, and so their quotient is rounded once (W. D. Clinger, "How to
/// Read Floating Point Numbers Accurately", 1990).
#[inline]
pub(super) fn short_number(document: &[u8], start: usize) -> Option<(f64, usize)> {
    let rest = document.get(start..)?;
    let (negative, rest) = rest.strip_prefix(b"-").map_or((false, rest), |rest| (true, rest));
    let (mut value, mut length, mut point) = (0_u64, 0, None);
    for byte in rest {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        } else if *byte == b'.' && point.is_none() {
            point = Some(length);
        } else {
            break;
        }
        length += 1;
    }
    let whole = point.unwrap_or(length);
    let behind_point = length - point.map_or(length, |point| point + 1);
    if whole == 0 || (whole > 1 && rest.first() == Some(&b'0')) {
        return None;
    }
    if (point.is_some() && behind_point == 0) || whole + behind_point > 15 {
        return None;
    }
    if let Some(b'e' | b'E') = rest.get(length) {
        return None;
    }
    let value = value as f64 / POWERS[behind_point];
    Some((if negative { -value } else { value }, start + usize::from(negative) + length))
}
