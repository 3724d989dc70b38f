//! Which names Prometheus allows (its data model, "legacy" charset).

/// Whether `name` is `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub fn is_metric_name(name: &str) -> bool {
    is_name(name, |byte| byte == b':')
}

/// Whether `name` is `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_label_name(name: &str) -> bool {
    is_name(name, |_| false)
}

/// Whether Prometheus keeps label names like `name` for itself.
pub fn is_reserved_label_name(name: &str) -> bool {
    name.starts_with("__")
}

fn is_name(name: &str, also: impl Fn(u8) -> bool) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_' || also(byte))
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || also(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_legacy_charset() {
        for name in ["a", "_", "a1", "A_b", "__x"] {
            assert!(is_label_name(name) && is_metric_name(name), "{name}");
        }
        for name in ["", "1a", "a-b", "a.b", "ä", "a b"] {
            assert!(!is_label_name(name) && !is_metric_name(name), "{name}");
        }
        assert!(is_metric_name("job:rate:5m") && !is_label_name("job:rate"));
    }
}
