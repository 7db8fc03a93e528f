//! Parses plain scalars by YAML 1.2 and by Go's YAML 1.1 alike.

/// Parses `true`, and the other spellings that Go's reader accepts.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "y" | "Y" | "on" | "On" | "ON" => Some(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "n" | "N" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// Parses `12`, `-3`, `1_000`, `0x1F`, `0o17`, `0b101`, and `5.0`.
pub(super) fn integer(text: &str) -> Option<i128> {
    let text = text.replace('_', "");
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    let radix = |prefix, radix| digits.strip_prefix(prefix).map(|digits| (digits, radix));
    let (digits, radix) =
        radix("0x", 16).or_else(|| radix("0o", 8)).or_else(|| radix("0b", 2)).unwrap_or((digits, 10));
    // YAML has no second sign.
    if digits.starts_with(['-', '+']) {
        return None;
    }
    if let Ok(value) = i128::from_str_radix(digits, radix) {
        return Some(if is_negative { -value } else { value });
    }
    let value = float(&text).filter(|value| value.fract() == 0.0 && value.abs() < 1e15)?;
    #[expect(clippy::cast_possible_truncation, reason = "an integer in range")]
    Some(value as i128)
}

/// Parses `1.5`, `1e3`, `.inf`, `.nan`.
pub(super) fn float(text: &str) -> Option<f64> {
    let unsigned = text.trim_start_matches(['+', '-']);
    match unsigned.to_ascii_lowercase().as_str() {
        ".inf" if text.starts_with('-') => return Some(f64::NEG_INFINITY),
        ".inf" => return Some(f64::INFINITY),
        ".nan" => return Some(f64::NAN),
        _ => {}
    }
    // Rust's parser also accepts words.
    let is_number = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    text.replace('_', "").parse().ok().filter(|_| is_number)
}
