//! Numbers of bytes as people write them: `1048576`, `32MiB`, `64M`, `100 MB`; and
//! of things.

/// The unit of each suffix. A bare letter is binary, as it is for `dd`, `split`,
/// `docker` and every other tool that takes one.
const UNITS: [(&str, u64); 14] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
    ("K", 1 << 10),
    ("k", 1 << 10),
    ("M", 1 << 20),
    ("m", 1 << 20),
    ("G", 1 << 30),
    ("g", 1 << 30),
];

/// Parses a size.
///
/// # Errors
/// The rule that `text` breaks.
pub fn parse(text: &str) -> Result<u64, &'static str> {
    const RULE: &str =
        "it takes a number of bytes, or a number with K, M, G, KiB, MiB, GiB, kB, MB or GB";
    let (digits, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?.trim_end(), *unit)))
        .unwrap_or((text, 1));
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(RULE);
    }
    digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(unit))
        .ok_or("it is larger than 16 EiB")
}

/// `bytes` in the largest unit that keeps a digit before the point.
pub fn show(bytes: u64) -> String {
    for (name, unit) in [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= unit {
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}

/// A number of things: `1 image`, `2 images`.
pub fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, size) in [
            ("0", 0),
            ("8192", 8192),
            ("1B", 1),
            ("1KiB", 1024),
            ("32MiB", 32 << 20),
            ("2GiB", 2 << 30),
            ("1kB", 1000),
            ("500KB", 500_000),
            ("100 MB", 100_000_000),
            ("5GB", 5_000_000_000),
            ("64M", 64 << 20),
            ("1g", 1 << 30),
            ("4 k", 4096),
        ] {
            assert_eq!(parse(text), Ok(size), "{text}");
        }
        for bad in [
            "",
            "MiB",
            "-1",
            "+1",
            "1T",
            "1Mi",
            "1mib",
            "1.5MiB",
            "1e6",
            " 1",
            "0x10",
            "99999999999GiB",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shown_for_people() {
        assert_eq!(show(0), "0 B");
        assert_eq!(show(1023), "1023 B");
        assert_eq!(show(1536), "1.5 KiB");
        assert_eq!(show(u64::MAX), "17179869183.9 GiB");
    }
}
