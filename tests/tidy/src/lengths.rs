//! Lengths of files and functions: those that are over the limit may not grow, and no other may pass it.
//!
//! `ratchet.txt` says how long each of the former may be. `make ratchet` writes it anew from the tree, where it only
//! ever lowers or drops a line.

use std::collections::BTreeMap;

use crate::{
    source::{find, Source},
    Violation,
};

/// Lines of a file. Near it, look for the second noun.
pub const FILE_LINES_MAX: usize = 500;
/// Lines of a function, from `fn` to its closing brace.
pub const FUNCTION_LINES_MAX: usize = 60;

/// A file, or a function of one: `path`, or `path name`.
pub type Lengths = BTreeMap<String, usize>;

/// What is over its limit.
pub fn measure(tree: &[Source]) -> Lengths {
    let mut found = Lengths::new();
    for source in tree {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            found.insert(source.path.clone(), lines);
        }
        for (name, lines) in functions(&source.code).filter(|(_, lines)| *lines > FUNCTION_LINES_MAX) {
            // Of two with one name in a file the longer counts.
            let known = found.entry(format!("{} {name}", source.path)).or_default();
            *known = lines.max(*known);
        }
    }
    found
}

/// The functions with a body, and their lengths.
fn functions(code: &str) -> impl Iterator<Item = (&str, usize)> {
    find(code, "fn").filter_map(|at| {
        let rest = &code[at..];
        let name = rest[2..].trim_start().split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
        // A type `fn(..)` has no name; a declaration ends before a body begins. `[u8; 4]` in a signature ends nothing.
        let mut square = 0_i32;
        let open = rest.char_indices().find(|(_, c)| {
            square += i32::from(*c == '[') - i32::from(*c == ']');
            *c == '{' || *c == ';' && square == 0
        })?;
        if name.is_empty() || open.1 == ';' {
            return None;
        }
        let mut depth = 0_usize;
        let close = rest[open.0..].char_indices().find(|(_, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => return false,
            }
            depth == 0
        })?;
        Some((name, 1 + rest[..open.0 + close.0].matches('\n').count()))
    })
}

/// What grew past what the ratchet allows.
pub fn check(measured: &Lengths, allowed: &Lengths) -> Vec<Violation> {
    let mut found = vec![];
    for (what, lines) in measured {
        let (noun, limit) =
            if what.contains(' ') { ("function", FUNCTION_LINES_MAX) } else { ("file", FILE_LINES_MAX) };
        match allowed.get(what) {
            Some(allowed) if lines <= allowed => {}
            Some(allowed) => {
                found.push(Violation::new(
                    what,
                    format!("{lines} lines; it may not grow past {allowed}: split it"),
                ));
            }
            None => found
                .push(Violation::new(what, format!("a {noun} of {lines} lines; at most {limit}: split it"))),
        }
    }
    found
}

/// Reads `ratchet.txt`: a number and a name on each line; `#` begins a remark.
pub fn parse(text: &str) -> Result<Lengths, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let entry = |line: &str| {
        let (lines, what) = line.split_once(' ')?;
        Some((what.trim().to_owned(), lines.parse().ok()?))
    };
    lines.map(|line| entry(line).ok_or_else(|| format!("not `LINES NAME`: {line}"))).collect()
}

/// The ratchet after a look at the tree: what is allowed now and still needed.
pub fn tightened(measured: &Lengths, allowed: &Lengths) -> String {
    let mut text = format!(
        "# Files over {FILE_LINES_MAX} lines and functions over {FUNCTION_LINES_MAX}, and how long each may be at most.\n\
         # `make ratchet` lowers and drops lines; none is ever raised or added: split what grew.\n"
    );
    for (what, lines) in measured {
        if let Some(allowed) = allowed.get(what) {
            text.push_str(&format!("{} {what}\n", lines.min(allowed)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(lines: usize) -> String {
        format!("fn long(a: [u8; 4]) {{\n{}}}\n", "    a();\n".repeat(lines - 2))
    }

    #[test]
    fn a_long_function_or_file_is_found() {
        let source = Source::new("a.rs", function(FUNCTION_LINES_MAX + 1));
        let found = check(&measure(&[source]), &Lengths::new());
        assert_eq!(found, [Violation::new("a.rs long", "a function of 61 lines; at most 60: split it")]);
        let source = Source::new("a.rs", "// a line\n".repeat(FILE_LINES_MAX + 1));
        assert_eq!(check(&measure(&[source]), &Lengths::new()).len(), 1);
        let source = Source::new("a.rs", function(FUNCTION_LINES_MAX));
        assert_eq!(measure(&[source]), Lengths::new());
    }

    #[test]
    fn what_the_ratchet_knows_may_shrink_and_not_grow() {
        let allowed = parse("# remark\n70 a.rs long\n").unwrap();
        let measured = |lines| measure(&[Source::new("a.rs", function(lines))]);
        assert_eq!(check(&measured(70), &allowed), []);
        assert_eq!(check(&measured(65), &allowed), []);
        assert_eq!(check(&measured(71), &allowed).len(), 1);
    }

    #[test]
    fn tightening_never_raises_or_adds() {
        let allowed = parse("70 a.rs long\n600 gone.rs\n").unwrap();
        let of = |text: &str| parse(text).unwrap();
        let now = of("65 a.rs long\n501 new.rs\n");
        assert_eq!(parse(&tightened(&now, &allowed)), Ok(of("65 a.rs long\n")));
        assert_eq!(parse(&tightened(&of("80 a.rs long\n"), &allowed)), Ok(of("70 a.rs long\n")));
    }

    #[test]
    fn braces_in_literals_and_declarations_do_not_count() {
        let code =
            crate::code::blank("trait A { fn a(); }\nfn b() {\n    c(\"}\");\n}\ntype F = fn(u8) -> u8;");
        assert_eq!(functions(&code).collect::<Vec<_>>(), [("b", 3)]);
    }

    #[test]
    fn a_broken_ratchet_is_an_error() {
        assert!(parse("a.rs 70").is_err());
    }
}
