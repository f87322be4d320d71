//! What an error library's `Debug` text says. Comes in: the text of `error!("{e:?}")`, as anyhow
//! and eyre write it. Goes out: message, causes and stack, each by itself.

/// The parts of such a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report<'a> {
    pub(crate) message: &'a str,
    /// Outermost first.
    pub(crate) causes: Vec<String>,
    /// In the form of the standard library's backtraces.
    pub(crate) stack: Option<&'a str>,
}

/// Causes taken at most.
const MAX_CAUSES: usize = 31;
/// How sections begin. The last is eyre's, and says where it was made.
const SECTIONS: [&str; 3] = ["Caused by:\n", "Stack backtrace:\n", "Location:\n"];

impl<'a> Report<'a> {
    /// `None`: it is an ordinary text.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (end, _) = next_section(text)?;
        let mut report = Self { message: text[..end].trim_end(), ..Self::default() };
        let mut rest = &text[end..];
        while let Some((at, name)) = next_section(rest) {
            let section = &rest[at + name.len()..];
            let length = next_section(section).map_or(section.len(), |(end, _)| end);
            match name {
                "Caused by:\n" => report.causes = causes(&section[..length]),
                "Stack backtrace:\n" => report.stack = Some(&section[..length]),
                _ => {}
            }
            rest = &section[length..];
        }
        Some(report).filter(|report| !report.message.is_empty())
    }
}

/// Where the next section begins, and which it is. It stands at a line's beginning.
fn next_section(text: &str) -> Option<(usize, &'static str)> {
    let begins = |at: usize| at == 0 || text.as_bytes()[at - 1] == b'\n';
    SECTIONS.iter().filter_map(|name| Some((text.match_indices(name).map(|(at, _)| at).find(|at| begins(*at))?, *name))).min()
}

/// `    0: text` each, or `    text` where there is one; further lines of a text are indented as
/// well.
fn causes(section: &str) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    for line in section.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let numbered = line.split_once(": ").filter(|(number, _)| number.parse::<usize>() == Ok(causes.len()));
        match (numbered, causes.last_mut()) {
            (Some((_, text)), _) => causes.push(text.to_owned()),
            (None, None) => causes.push(line.to_owned()),
            (None, Some(last)) => {
                last.push('\n');
                last.push_str(line);
            }
        }
    }
    causes.truncate(MAX_CAUSES);
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_report_comes_apart() {
        let text = "saving failed\n\nCaused by:\n    0: disk full\n    1: no\n       space\n\nStack backtrace:\n   0: shop::save\n";
        let report = Report::parse(text).unwrap();
        assert_eq!((report.message, report.stack), ("saving failed", Some("   0: shop::save\n")));
        assert_eq!(report.causes, ["disk full", "no\nspace"]);
        let one = Report::parse("saving failed\n\nCaused by:\n    12: is no number\n\nLocation:\n    src/x.rs:1:2").unwrap();
        assert_eq!((one.message, one.causes, one.stack), ("saving failed", vec!["12: is no number".to_owned()], None));
        assert_eq!(Report::parse("it was Caused by:\nrain"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(?s)(.{0,20}|Caused by:\n|Stack backtrace:\n|Location:\n|\n| 0: ){0,12}") {
            if let Some(report) = Report::parse(&text) {
                prop_assert!(text.starts_with(report.message));
            }
        }

        #[test]
        fn what_anyhow_writes_is_what_is_read(texts in prop::collection::vec("[a-z]{1,8}( [a-z:]{1,8}){0,3}", 2..6)) {
            let mut texts = texts.into_iter().rev();
            let error = texts.next().map(anyhow::Error::msg).unwrap();
            let error = texts.fold(error, anyhow::Error::context);
            let said = format!("{error:?}");
            let said: &str = said.split("\n\nStack backtrace:").next().unwrap();
            let report = Report::parse(said).unwrap();
            let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
            prop_assert_eq!(report.message, &chain[0]);
            prop_assert_eq!(&report.causes, &chain[1..]);
        }
    }
}
