//! Checks of JSON text that comes from elsewhere, before it is spliced into a batch.
//!
//! V8 writes and parses the values; here they are only looked at, once, without recursion.

use serde_json::value::RawValue;

/// How deep arrays and objects may be nested, in args and in results.
///
/// Well above what data has, and below what the JSON readers of other languages refuse.
pub const MAX_DEPTH: usize = 1000;

/// Args as they are found in a task's hash: JSON text of an object, or what is wrong with them.
///
/// Absent and empty args are an empty object (the wire's table of fields).
pub fn args(bytes: Option<Vec<u8>>) -> Result<String, String> {
    let bytes = bytes.unwrap_or_default();
    if bytes.trim_ascii().is_empty() {
        return Ok("{}".into());
    }
    let text = value(&bytes).map_err(|problem| format!("args: {problem}"))?;
    match text.bytes().next() {
        Some(b'{') if text.len() == bytes.len() => {
            // Not a copy, which args of some size would feel.
            String::from_utf8(bytes).map_err(|error| format!("args: {error}"))
        }
        Some(b'{') => Ok(text.into()),
        Some(b'[') => Err("args: an array where an object of named arguments is expected".into()),
        _ => Err("args: a single value where an object of named arguments is expected".into()),
    }
}

/// Any JSON value: its text without surrounding white space, or what is wrong with it and where.
pub fn value(bytes: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to()))?;
    let raw: &RawValue =
        serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let text = raw.get();
    if depth(text) > MAX_DEPTH {
        return Err(format!("nested deeper than {MAX_DEPTH} levels"));
    }
    Ok(text)
}

/// The nesting depth of a text that is known to be JSON.
pub fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0usize);
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => rest = after_string(after),
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// What follows a string, from within it. Most of what is long is strings, so they are not gone through byte by
/// byte.
fn after_string(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        let after = rest.get(at + 1..).unwrap_or_default();
        if rest[at] == b'"' {
            return after;
        }
        rest = after.get(1..).unwrap_or_default();
    }
    &[]
}

/// Appends `text` as a JSON string.
pub fn push_string(out: &mut String, text: &str) {
    // Writing a string can't fail; were it ever to, an empty one keeps the batch whole.
    out.push_str(&serde_json::to_string(text).unwrap_or_else(|_| "\"\"".into()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn args_are_an_object_of_any_layout() {
        let read = |text: &str| args(Some(text.into())).expect("an object");
        assert_eq!(args(None), Ok("{}".into()));
        assert_eq!(read(""), "{}");
        assert_eq!(read(" \n"), "{}");
        assert_eq!(
            read(" {\n  \"text\": \"it worked!\"\n} "),
            "{\n  \"text\": \"it worked!\"\n}"
        );
        assert_eq!(read(r#"{"a":"\ud800"}"#), r#"{"a":"\ud800"}"#);
    }

    #[test]
    fn other_args_are_refused_and_the_place_is_named() {
        let problem = |bytes: &[u8]| args(Some(bytes.into())).unwrap_err();
        assert!(problem(b"[1,2]").contains("an array"));
        assert!(problem(b"\"text\"").contains("a single value"));
        assert!(problem(b"{\"a\":\n 1,}").contains("line 2 column 4"));
        assert!(problem(b"{} {}").contains("trailing"));
        assert!(problem(b"{\"a\":\"\xff\"}").contains("not UTF-8 at byte 6"));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(problem(deep.as_bytes()).contains("nested deeper"));
    }

    #[test]
    fn brackets_inside_strings_do_not_nest() {
        assert_eq!(depth(r#"{"a":"[[[\"{{{","b":[1]}"#), 2);
        assert_eq!(depth(r#"{"[[[\\":[[1]],"{{{\\\"":"[[["}"#), 3);
        assert_eq!(depth(r#"["\u005b[[[",[]]"#), 2);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_bring_the_checks_down(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = value(&bytes);
            let _ = args(Some(bytes));
        }
    }
}
