//! Pictures, as SVG in the page: coloured by the style sheet, so that they follow light and dark.

use maud::{Markup, html};

use super::readable;

/// The shades for parts of a picture; the last is for all others.
pub(super) const SHADES: usize = 8;

/// A bar of several parts, from the bottom up.
pub(super) struct Stack {
    /// Its label, in full, and below it in short.
    pub(super) name: String,
    pub(super) label: Option<String>,
    /// Where it leads.
    pub(super) link: String,
    /// Shade and height.
    pub(super) parts: Vec<(usize, u32)>,
}

/// A line of a plot: from zero to one across, and its values.
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 180.0;
/// Below the bars, for their labels.
const FOOT: f64 = 22.0;
/// Left of the bars, for the scale.
const SIDE: f64 = 52.0;

/// Bars side by side, each a link.
pub(super) fn stacks(title: &str, stacks: &[Stack]) -> Markup {
    let sum = |stack: &Stack| stack.parts.iter().map(|(_, height)| height).sum::<u32>();
    let top = stacks.iter().map(sum).max().unwrap_or(0).max(1);
    let step = WIDTH / number(stacks.len().max(1));
    let scale = HEIGHT / f64::from(top);
    html! {
        svg class="stacks" viewBox=(format!("-{SIDE} -12 {} {}", WIDTH + SIDE, HEIGHT + FOOT + 12.0))
            role="group" aria-label=(title) {
            (grid(f64::from(top), readable::digits))
            @for (stack, at) in stacks.iter().zip(0_u32..) {
                @let x = f64::from(at) * step;
                @let sum = sum(stack);
                @if sum > 0 {
                    @let name = format!("{}: {}", stack.name, readable::count(sum as usize, "group", "groups"));
                    a href=(stack.link) aria-label=(name) {
                        title { (name) }
                        // The whole height can be clicked, however little there is.
                        rect class="reach" x=(px(x)) y="0" width=(px(step)) height=(px(HEIGHT)) {}
                        @for (below, (shade, height)) in running(&stack.parts) {
                            @let (y, tall) = (f64::from(below + height) * scale, f64::from(height) * scale);
                            rect class=(format!("shade{shade}")) x=(px(x + step * 0.1)) y=(px(HEIGHT - y))
                                width=(px(step * 0.8)) height=(px(tall.max(1.0))) {}
                        }
                    }
                }
                @if let Some(label) = &stack.label {
                    text class="label" x=(px(x + step / 2.0)) y=(px(HEIGHT + 16.0)) text-anchor="middle" { (label) }
                }
            }
        }
    }
}

/// How values are drawn.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Mark {
    /// Joined, where there is always one.
    Line,
    /// Each by itself, where there may be none for long.
    Dots,
}

/// Values over the last hour.
pub(super) fn plot(
    title: &str,
    lines: &[Line],
    mark: Mark,
    format: impl Fn(f64) -> String,
) -> Markup {
    let values = || lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
    let top = nice(values().fold(0.0, f64::max));
    let latest =
        |line: &Line| line.points.last().map_or("none yet".into(), |(_, value)| format(*value));
    let summary: Vec<_> =
        lines.iter().map(|line| format!("{} {}", line.name, latest(line))).collect();
    let place = |(across, value): &(f64, f64)| {
        format!("{},{}", px(across * WIDTH), px(HEIGHT - value / top * HEIGHT))
    };
    let path = |line: &Line| {
        let places: Vec<_> = line.points.iter().map(place).collect();
        match mark {
            _ if places.is_empty() => String::new(),
            Mark::Line => format!("M{}", places.join("L")),
            Mark::Dots => format!("M{}h0", places.join("h0M")),
        }
    };
    html! {
        figure class="plot" {
            figcaption {
                (title) " "
                @for (line, shade) in lines.iter().zip(0..) {
                    span class="key" { span class=(format!("dot shade{shade}")) {} (line.name) " " strong { (latest(line)) } }
                }
            }
            svg viewBox=(format!("-{SIDE} -12 {} {}", WIDTH + SIDE, HEIGHT + FOOT + 12.0)) role="img"
                aria-label=(format!("{title} over the last hour; now: {}", summary.join(", "))) {
                (grid(top, &format))
                @for (minutes, x) in [(60, 0.0), (45, 0.25), (30, 0.5), (15, 0.75)] {
                    text class="label" x=(px(x * WIDTH)) y=(px(HEIGHT + 16.0)) { "\u{2212}" (minutes) " min" }
                }
                @for (line, shade) in lines.iter().zip(0..) {
                    path class=(format!("line{shade}{}", if mark == Mark::Dots { " dots" } else { "" })) d=(path(line)) {}
                }
            }
        }
    }
}

/// Lines across at round values, named at the side.
fn grid(top: f64, format: impl Fn(f64) -> String) -> Markup {
    html! {
        @for part in [0.0, 0.5, 1.0] {
            @let y = px(HEIGHT - part * HEIGHT);
            line class="grid" x1="0" x2=(px(WIDTH)) y1=(y) y2=(y) {}
            @if part == 0.0 || top * part >= 1.0 || top < 1.0 {
                text class="label" x="-6" y=(px(HEIGHT - part * HEIGHT + 4.0)) text-anchor="end" { (format(top * part)) }
            }
        }
    }
}

/// A few values as small bars, the last the latest.
pub(super) fn spark(title: &str, values: &[f64]) -> Markup {
    let top = values.iter().copied().fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    html! {
        svg class="spark" viewBox="0 0 64 18" role="img" aria-label=(title) {
            title { (title) }
            @for (value, at) in values.iter().rev().zip(1_u32..) {
                @let tall = (value / top * 18.0).max(1.0);
                rect x=(px(64.0 - f64::from(at) * 8.0)) y=(px(18.0 - tall)) width="6" height=(px(tall)) {}
            }
        }
    }
}

/// A share of a row, as a bar behind its text.
pub(super) fn share(part: f64) -> Markup {
    html! {
        svg class="share" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" {
            rect x="0" y="0" height="10" width=(px((part * 100.0).clamp(0.0, 100.0))) {}
        }
    }
}

/// Each part with what is below it.
fn running(parts: &[(usize, u32)]) -> impl Iterator<Item = (u32, (usize, u32))> {
    parts.iter().scan(0, |below, (shade, height)| {
        let at = *below;
        *below += height;
        Some((at, (*shade, *height)))
    })
}

/// The next round number from there up.
fn nice(top: f64) -> f64 {
    if top <= 0.0 || !top.is_finite() {
        return 1.0;
    }
    let unit = 10_f64.powf(top.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|step| step * unit)
        .find(|nice| *nice >= top)
        .unwrap_or(top)
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// A length, with as many digits as can be seen.
fn px(length: f64) -> String {
    let text = format!("{length:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_what_they_stand_for() {
        let stack = |parts: &[(usize, u32)]| Stack {
            name: "<now>".into(),
            label: None,
            link: "./?a=1&b=2".into(),
            parts: parts.to_vec(),
        };
        let svg = stacks("by job", &[stack(&[(0, 1), (7, 3)]), stack(&[])]).into_string();
        assert!(svg.contains("&lt;now&gt;: 4 groups") && svg.contains("./?a=1&amp;b=2"), "{svg}");
        for part in [r#"shade0" x="36" y="135" width="288" height="45""#, r#"shade7" x="36" y="0""#]
        {
            assert!(svg.contains(part), "{part}\n{svg}");
        }
        assert_eq!(svg.matches("<a ").count(), 1, "there is nothing behind an empty bar");
    }

    #[test]
    fn values_are_joined_or_stand_alone() {
        let points = vec![(0.5, 10.0), (1.0, 0.0)];
        let picture = |mark| {
            let line = Line { name: "mean", points: points.clone() };
            plot("Times", &[line], mark, readable::digits).into_string()
        };
        assert!(picture(Mark::Line).contains(r#"d="M360,0L720,180""#));
        assert!(picture(Mark::Dots).contains(r#"d="M360,0h0M720,180h0""#));
    }

    #[test]
    fn scales_end_at_round_numbers() {
        for (top, expected) in [(0.0, 1.0), (0.3, 0.5), (7.0, 10.0), (12.0, 20.0), (f64::NAN, 1.0)]
        {
            assert!((nice(top) - expected).abs() < 1e-9, "{top}");
        }
    }
}
