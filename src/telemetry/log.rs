//! Log lines to standard error, in logfmt or JSON, through tracing-subscriber.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::terminal::acts;
use crate::time::UnixNanos;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Logfmt,
    Json,
}

/// Which log lines are written, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub level: Level,
    pub format: Format,
}

/// Starts logging. Later calls change nothing.
pub fn init(options: Options) {
    // Only our own lines at debug: those of the libraries are about their insides.
    let level = LevelFilter::from_level(options.level);
    let filter = Targets::new().with_default(LevelFilter::WARN).with_target("tidegate", level);
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // An error means that a subscriber is there already, as in tests.
    let _ = match options.format {
        Format::Logfmt => registry.with(layer.event_format(Logfmt)).try_init(),
        Format::Json => registry
            .with(layer.json().flatten_event(true).with_target(false).with_current_span(false))
            .try_init(),
    };
}

/// `ts=… level=… msg="…" key=value`, as the Go Pushgateway logs.
struct Logfmt;

impl<S, N> FormatEvent<S, N> for Logfmt
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now = now().to_system_time();
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        write!(writer, "ts={} level={level}", humantime::format_rfc3339_millis(now))?;
        let mut fields = Fields { message: String::new(), rest: String::new() };
        event.record(&mut fields);
        write!(writer, " msg={}{}", quoted(&fields.message), fields.rest)?;
        writeln!(writer)
    }
}

/// The time of a log line. Logs are the one thing that is timed by the host whatever clock the
/// gateway is given.
fn now() -> UnixNanos {
    use crate::time::Clock as _;
    crate::time::SystemClock::new().wall()
}

struct Fields {
    message: String,
    rest: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.push(field, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.push(field, &text);
        }
    }
}

impl Fields {
    fn push(&mut self, field: &Field, value: &str) {
        self.rest.push(' ');
        self.rest.push_str(field.name());
        self.rest.push('=');
        self.rest.push_str(&quoted(value));
    }
}

/// The value, in quotes where logfmt needs them.
fn quoted(value: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !acts(c) && c != '"' && c != '=';
    if !value.is_empty() && value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("{value:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_where_logfmt_needs_it() {
        for (value, expected) in [
            ("plain", "plain"),
            ("", "\"\""),
            ("two words", "\"two words\""),
            ("a=b", "\"a=b\""),
            ("line\nbreak", "\"line\\nbreak\""),
            ("quo\"te", "\"quo\\\"te\""),
            ("\u{1b}[2J", "\"\\u{1b}[2J\""),
            ("a\u{202e}b", "\"a\\u{202e}b\""),
        ] {
            assert_eq!(quoted(value), expected);
        }
    }
}
