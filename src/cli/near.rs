//! Names that are written with a slip.

/// Whether one name becomes the other when a letter is added, left out or changed, or
/// two neighbours are swapped.
pub fn is_near(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let start = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let (one, other) = (&one[start..], &other[start..]);
    match (one, other) {
        ([_, a @ ..], [_, b @ ..]) if a == b => true,
        ([a, b, rest @ ..], [c, d, tail @ ..]) if a == d && b == c && rest == tail => true,
        ([_, rest @ ..], all) | (all, [_, rest @ ..]) if rest == all => true,
        ([], []) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_one_slip_are_near() {
        for slip in ["DXF_HOTS", "DXF_HST", "DXF_HOSTS", "DXF_HOSP", "DXF_HOOST"] {
            assert!(
                is_near("DXF_HOST", slip) && is_near(slip, "DXF_HOST"),
                "{slip}"
            );
        }
        for other in ["DXF_HT", "DXF_MY_HOST", "DXF_", "DXF_TSOH"] {
            assert!(!is_near("DXF_HOST", other), "{other}");
        }
    }
}
