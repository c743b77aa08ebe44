use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Each file in the folder of scripts, by its name.
fn scripts() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/broker/scripts");
    let files = std::fs::read_dir(folder).expect("the folder of scripts");
    files
        .map(|file| {
            let path = file.expect("a file").path();
            let name = path.file_stem().expect("a name").to_string_lossy();
            (
                name.into_owned(),
                std::fs::read_to_string(&path).expect("its text"),
            )
        })
        .collect()
}

/// The comment that a script begins with, and the rest.
fn split(script: &str) -> (&str, &str) {
    let lines = script.lines().take_while(|line| line.starts_with("--"));
    let head = lines.map(|line| line.len() + 1).sum();
    script.split_at(head)
}

#[test]
fn each_script_is_headed_by_the_keys_and_arguments_that_it_uses() {
    for (name, script) in scripts() {
        let (head, body) = split(&script);
        assert!(
            name == "settle" || head.contains("Returns"),
            "{name}: no word of what it returns"
        );
        for list in ["KEYS", "ARGV"] {
            assert_eq!(highest(list, head), highest(list, body), "{name}: {list}");
        }
    }
}

#[test]
fn what_settle_gives_to_others_is_in_its_head_and_the_broker_puts_it_before_who_uses_it() {
    let scripts = scripts();
    let (head, body) = split(&scripts["settle"]);
    let functions: Vec<&str> = body
        .split("\nlocal function ")
        .skip(1)
        .filter_map(|text| text.split('(').next())
        .collect();
    let broker = include_str!("../../src/broker/mod.rs");
    let mut given = BTreeSet::new();
    for (name, script) in scripts.iter().filter(|(name, _)| *name != "settle") {
        let (own_head, body) = split(script);
        let used = functions
            .iter()
            .filter(|function| body.contains(&format!("{function}(")));
        let used: Vec<&&str> = used.collect();
        let says = own_head.contains("Begins with settle.lua");
        assert_eq!(says, !used.is_empty(), "{name} uses {used:?}");
        let loaded = if says {
            format!("script!(settle, \"{name}\")")
        } else {
            format!("script!(\"{name}\")")
        };
        assert!(broker.contains(&loaded), "the broker has no {loaded}");
        given.extend(used);
    }
    let named: BTreeSet<&&str> = functions
        .iter()
        .filter(|function| head.contains(&format!("{function}(")))
        .collect();
    assert_eq!(named, given);
}

/// The highest number of a key or argument that the text names. A loop over all from a number on,
/// `for i = 9, #ARGV` or `for i = #ARGV - 1, 9`, and `unpack(ARGV, 9)` name that number.
fn highest(list: &str, text: &str) -> u32 {
    let patterns = [
        format!("{list}["),
        format!("#{list} - 1, "),
        format!("({list}, "),
    ];
    let number = |text: &str| -> Option<u32> {
        let digits = text.chars().take_while(char::is_ascii_digit);
        digits.collect::<String>().parse().ok()
    };
    let named = patterns.iter().flat_map(|pattern| {
        text.match_indices(pattern)
            .filter_map(|(at, found)| number(&text[at + found.len()..]))
    });
    let end = format!(", #{list}");
    let looped = text
        .match_indices(&end)
        .filter_map(|(at, _)| number(text[..at].rsplit("= ").next()?));
    named.chain(looped).max().unwrap_or(0)
}
