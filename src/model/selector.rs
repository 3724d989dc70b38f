//! `PromQL` selectors over grouping labels.

use std::fmt;

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::Expr;
use promql_parser::util::unquote_string;
use regex::{Regex, RegexBuilder};
use thiserror::Error;

use super::grouping_key::GroupingKey;

/// A `PromQL` vector selector such as `{job=~"backup-.+"}`. A label that a key does not have counts
/// as empty, as in Prometheus.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    text: String,
    /// Any one of these lists matches, if all matchers in it do.
    alternatives: Vec<Vec<Matcher>>,
}

/// Why a text is not a selector over grouping labels.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SelectorError {
    #[error("{0}")]
    Syntax(String),
    #[error("expected a selector such as '{{job=\"backup\"}}', not an expression")]
    NotASelector,
    #[error("grouping labels have no metric name to match: write only the labels in braces")]
    MetricName,
    #[error("cannot match: every grouping key has a job that is not empty")]
    EmptyJob,
    #[error("it has more than {REGEXES_MAX} regular expressions")]
    Regexes,
    #[error("it has more than {MATCHERS_MAX} matchers")]
    Matchers,
    #[error("the regular expression {0:?} is too large: repeat less in it")]
    LargeRegex(String),
}

/// So many regular expressions a selector may have, and those of one request together.
pub const REGEXES_MAX: usize = 32;

/// The memory that one may take once it is compiled. The parser lets it take eighty times as much.
const REGEX_BYTES_MAX: usize = 128 << 10;
/// The cache of one for what it has matched, in each of two directions.
const REGEX_CACHE_BYTES_MAX: usize = 64 << 10;
/// The most memory that one takes, also while it is compiled: forwards and backwards, once to look at it
/// and once to keep.
pub const REGEX_MEMORY_MAX: usize = 4 * REGEX_BYTES_MAX + 4 * REGEX_CACHE_BYTES_MAX;
/// So many matchers a selector may have, and those of one request together: each is looked at for each
/// group.
pub const MATCHERS_MAX: usize = 64;

impl Selector {
    /// Parses a selector.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        check(text)?;
        let expr = promql_parser::parser::parse(text).map_err(SelectorError::Syntax)?;
        let Expr::VectorSelector(selector) = expr else {
            return Err(SelectorError::NotASelector);
        };
        if selector.offset.is_some() || selector.at.is_some() {
            return Err(SelectorError::NotASelector);
        }
        let mut alternatives = selector.matchers.or_matchers;
        if alternatives.is_empty() {
            alternatives.push(selector.matchers.matchers);
        }
        let mut all = alternatives.iter().flatten();
        if selector.name.is_some() || all.any(|matcher| matcher.name == "__name__") {
            return Err(SelectorError::MetricName);
        }
        let empty_job = |matcher: &Matcher| {
            matcher.name == "job" && matcher.op == MatchOp::Equal && matcher.value.is_empty()
        };
        if alternatives.iter().all(|matchers| matchers.iter().any(empty_job)) {
            return Err(SelectorError::EmptyJob);
        }
        for matcher in alternatives.iter_mut().flatten() {
            bound_memory(matcher);
        }
        Ok(Self { text: text.to_owned(), alternatives })
    }

    /// At most so many regular expressions a text has, whether or not it is a selector.
    pub fn regexes_in(text: &str) -> usize {
        text.matches("=~").count() + text.matches("!~").count()
    }

    /// How many matchers it has.
    pub fn matchers(&self) -> usize {
        self.alternatives.iter().map(Vec::len).sum()
    }

    /// Whether it can be told that this selector matches all that the other one does.
    pub fn covers(&self, other: &Self) -> bool {
        other
            .alternatives
            .iter()
            .all(|narrow| self.alternatives.iter().any(|wide| covers(wide, narrow)))
    }

    /// How many regular expressions it has.
    pub fn regexes(&self) -> usize {
        let is_regex =
            |matcher: &&Matcher| matches!(matcher.op, MatchOp::Re(_) | MatchOp::NotRe(_));
        self.alternatives.iter().flatten().filter(is_regex).count()
    }

    /// Whether the key's labels match.
    pub fn matches(&self, key: &GroupingKey) -> bool {
        self.alternatives.iter().any(|matchers| {
            matchers.iter().all(|matcher| matcher.is_match(key.get(&matcher.name).unwrap_or("")))
        })
    }
}

/// Keeps from the parser what it must not see: expressions, as it panics on a duration that is too
/// long; and regular expressions that take a lot of memory, of which it would compile any number.
fn check(text: &str) -> Result<(), SelectorError> {
    let text = without_comments(text);
    let Some(mut rest) = text.strip_prefix('{') else {
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
        let (name, after) = text.split_at(end.unwrap_or(text.len()));
        let is_name = name.starts_with(|c: char| !c.is_ascii_digit());
        let after = without_comments(after);
        let is_selector = is_name && (after.is_empty() || after.starts_with('{'));
        return Err(if is_selector {
            SelectorError::MetricName
        } else {
            SelectorError::NotASelector
        });
    };
    let (mut regexes, mut literals) = (0, 0);
    let mut is_regex = false;
    while let Some(first) = rest.chars().next() {
        let is_literal = matches!(first, '"' | '\'' | '`');
        let len = if is_literal { literal(rest)? } else { first.len_utf8() };
        let (token, after) = rest.split_at(len);
        rest = after;
        match first {
            '}' if without_comments(rest).is_empty() => return Ok(()),
            '}' => return Err(SelectorError::NotASelector),
            _ if is_literal && literals == MATCHERS_MAX => return Err(SelectorError::Matchers),
            _ if is_literal && is_regex => {
                literals += 1;
                regexes += 1;
                if regexes > REGEXES_MAX {
                    return Err(SelectorError::Regexes);
                }
                check_regex(token)?;
            }
            _ if is_literal => literals += 1,
            _ => {}
        }
        is_regex = first == '~' || (is_regex && first.is_whitespace());
    }
    // Without its end it is none, as the parser will say.
    Ok(())
}

/// The length of the quoted text that another begins with. The parser panics where a backslash stands
/// before a character that is not ASCII, which is no escape.
fn literal(text: &str) -> Result<usize, SelectorError> {
    let mut characters = text.char_indices();
    let Some((_, quote)) = characters.next() else { return Ok(0) };
    while let Some((at, character)) = characters.next() {
        if character == quote {
            return Ok(at + character.len_utf8());
        }
        if character == '\\' && quote != '`' {
            let escaped = characters.next().map(|(_, escaped)| escaped);
            if let Some(escaped) = escaped.filter(|escaped| !escaped.is_ascii()) {
                return Err(SelectorError::Syntax(format!("unknown escape sequence \\{escaped}")));
            }
        }
    }
    Ok(text.len())
}

/// A text without the blanks and comments that it begins with.
fn without_comments(text: &str) -> &str {
    let mut text = text.trim_start();
    while let Some(comment) = text.strip_prefix('#') {
        text = comment.split_once('\n').map_or("", |(_, rest)| rest.trim_start());
    }
    text
}

fn check_regex(literal: &str) -> Result<(), SelectorError> {
    // The parser refuses anything but a literal.
    let Ok(text) = unquote_string(literal) else { return Ok(()) };
    match compile(&text) {
        Err(regex::Error::CompiledTooBig(_)) => Err(SelectorError::LargeRegex(text)),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A regular expression as the parser understands it, within the memory that one may take.
fn compile(text: &str) -> Result<Regex, regex::Error> {
    let compile = |text: &str| {
        let mut builder = RegexBuilder::new(&format!("^(?:{text})$"));
        builder.size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_CACHE_BYTES_MAX).build()
    };
    compile(text).or_else(|error| match error {
        regex::Error::Syntax(_) => compile(&with_plain_braces(text)),
        other => Err(other),
    })
}

/// Puts a regular expression that takes no more memory than it may in the place of the parser's, which
/// may remember megabytes of what it has matched.
fn bound_memory(matcher: &mut Matcher) {
    if !matches!(matcher.op, MatchOp::Re(_) | MatchOp::NotRe(_)) {
        return;
    }
    // The parser has compiled it before.
    let Ok(regex) = compile(&matcher.value) else { return };
    matcher.op = match matcher.op {
        MatchOp::Re(_) => MatchOp::Re(regex),
        _ => MatchOp::NotRe(regex),
    };
}

/// A regular expression as Go understands it, and the parser then tries: a brace that begins no
/// repetition stands for itself.
fn with_plain_braces(text: &str) -> String {
    let is_repetition = |rest: &str| {
        let digits = |text: &str| text.trim_start_matches(|c: char| c.is_ascii_digit()).to_owned();
        let after = digits(rest);
        let after_comma = after.strip_prefix(',').map(digits);
        after.len() < rest.len() && after_comma.unwrap_or(after).starts_with('}')
    };
    let mut out = String::with_capacity(text.len() + 1);
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character == '{' && !is_repetition(rest.as_str()) {
            out.push('\\');
        }
        out.push(character);
        if character == '\\' {
            out.extend(rest.next());
        }
    }
    out
}

/// Whether it can be told that what matches all of `narrow` matches all of `wide`.
fn covers(wide: &[Matcher], narrow: &[Matcher]) -> bool {
    wide.iter().all(|wide| {
        let matches_all = match &wide.op {
            MatchOp::Re(_) => {
                let any = wide.value == ".*" || wide.value == "(.*)";
                // Every key has a job.
                any || (wide.name == "job" && wide.value == ".+")
            }
            MatchOp::NotEqual => wide.name == "job" && wide.value.is_empty(),
            MatchOp::Equal | MatchOp::NotRe(_) => false,
        };
        let implied = |narrow: &Matcher| {
            let one_value = narrow.op == MatchOp::Equal && wide.is_match(&narrow.value);
            narrow.name == wide.name && (narrow == wide || one_value)
        };
        matches_all || narrow.iter().any(implied)
    })
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Label;

    fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(name, value)| Label::new(*name, *value)).collect();
        Selector::parse(selector).unwrap().matches(&GroupingKey::new(labels).unwrap())
    }

    #[test]
    fn selectors_match_as_in_prometheus() {
        let key = [("job", "backup-db"), ("env", "prod")];
        assert!(matches(r#"{job=~"backup-.+"}"#, &key));
        assert!(!matches(r#"{job=~"backup"}"#, &key), "expressions are anchored");
        assert!(matches(r#"{job="backup-db",env!="test"}"#, &key));
        assert!(matches(r#"{job="backup-db",rack=""}"#, &key), "a missing label is empty");
        assert!(!matches(r#"{job!~"backup.*",env="prod"}"#, &key));
        assert!(matches(r#"{job="x" or env="prod"}"#, &key));
    }

    #[test]
    fn a_selector_covers_what_it_can_be_told_to_match() {
        let covers = |wide: &str, narrow: &str| {
            Selector::parse(wide).unwrap().covers(&Selector::parse(narrow).unwrap())
        };
        for (wide, narrow) in [
            (r#"{job="a"}"#, r#"{job="a"}"#),
            (r#"{job="a"}"#, r#"{env="x", job="a"}"#),
            (r#"{job=~"b.*"}"#, r#"{job="backup"}"#),
            (r#"{job=~"b.*"}"#, r#"{job=~"b.*", env="x"}"#),
            (r#"{job=~".+"}"#, r#"{env="x"}"#),
            (r#"{job=~".+", env!="x"}"#, r#"{env="y"}"#),
            (r#"{job="a" or job="b"}"#, r#"{job="b"}"#),
        ] {
            assert!(covers(wide, narrow), "{wide} {narrow}");
        }
        for (wide, narrow) in [
            (r#"{job="a"}"#, r#"{job="b"}"#),
            (r#"{job="a", env="x"}"#, r#"{job="a"}"#),
            (r#"{job=~"b.*"}"#, r#"{job=~"backup.*"}"#),
            (r#"{env=~".+"}"#, r#"{job="a"}"#),
            (r#"{job="a"}"#, r#"{job="a" or job="b"}"#),
        ] {
            assert!(!covers(wide, narrow), "{wide} {narrow}");
        }
    }

    /// Found by fuzzing: the parser panics on such a duration.
    #[test]
    fn what_follows_the_braces_is_not_parsed() {
        let long = "9".repeat(25);
        for text in [
            format!("{{job=\"a\"}}[{long}d:{long}m]"),
            format!("{{job=\"a\"}} offset {long}d"),
            format!("{{job=\"a\"}} # }}\n[{long}d] + {{job=\"a\"}}"),
            format!("``[{long}:{long}m]"),
            format!("sum({{job=\"a\"}}[{long}d])"),
        ] {
            assert_eq!(Selector::parse(&text), Err(SelectorError::NotASelector), "{text}");
        }
        for text in ["# a\n {job=\"}\"} # b", "{job='}\\''}", "{job=`}`,}", "{job=\"a\\\\\"}"] {
            assert!(Selector::parse(text).is_ok(), "{text}");
        }
    }

    /// Found by fuzzing: the parser panics on it.
    #[test]
    fn a_backslash_before_any_other_character_is_refused() {
        for text in [r#"{job="\ü"}"#, r"{job=~'a\\\ü'}", r#"{"\ü"="a"}"#] {
            assert!(matches!(Selector::parse(text), Err(SelectorError::Syntax(_))), "{text}");
        }
        assert!(Selector::parse(r#"{job="\\ü"}"#).is_ok());
    }

    /// A request of some kilobytes took more than 128 MiB, and there was no bound to it.
    #[test]
    fn regular_expressions_are_bounded() {
        let large = |text: &str| matches!(Selector::parse(text), Err(SelectorError::LargeRegex(_)));
        assert!(large(r#"{job=~"\\w{500}"}"#));
        assert!(large(r#"{job="a",x!~ `(a{300}){300}`}"#));
        assert!(large(r#"{job=~"{x}\\w{500}"}"#));
        assert!(Selector::parse(r#"{job=~"[a-z0-9-]{1,63}{x}\\{.+"}"#).is_ok());
        let many = |count: usize| format!("{{job=\"a\"{}}}", ",x=~\"y\"".repeat(count));
        assert_eq!(Selector::parse(&many(REGEXES_MAX)).unwrap().regexes(), REGEXES_MAX);
        assert_eq!(Selector::parse(&many(REGEXES_MAX + 1)), Err(SelectorError::Regexes));
    }

    #[test]
    fn what_is_no_selector_over_grouping_labels_is_refused() {
        for (text, part) in [
            ("up", "metric name"),
            (r#"{__name__="up"}"#, "metric name"),
            (r#"{job=""}"#, ""),
            (r#"{job="", env="x"}"#, "every grouping key has a job"),
            ("1 + 1", "not an expression"),
            (r#"{job="a"} offset 5m"#, "not an expression"),
            (r#"{job="a"}[5m]"#, "not an expression"),
            (r#"{job=~"("}"#, ""),
            ("{", ""),
            ("", ""),
        ] {
            let error = Selector::parse(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
