//! Push rate and scrape time against stored series, log-log, for both gateways.

use std::path::Path;

use plotters::prelude::*;

use crate::Result;
use crate::report::Point;

const TIDEGATE: RGBColor = RGBColor(0, 114, 178);
const PUSHGATEWAY: RGBColor = RGBColor(213, 94, 0);

/// Draws both plots side by side.
pub(crate) fn draw(file: &Path, points: &[Point]) -> Result<()> {
    let area = SVGBackend::new(file, (900, 380)).into_drawing_area();
    area.fill(&WHITE)?;
    let (left, right) = area.split_horizontally(450);
    // Where no line goes: one gateway's pushes fall, one's scrapes rise.
    let (low, high) = (SeriesLabelPosition::LowerLeft, SeriesLabelPosition::UpperLeft);
    curve(&left, "Pushes a second", low, points, |point| point.pushes_per_second)?;
    curve(&right, "Seconds a scrape", high, points, |point| point.scrape_seconds)?;
    area.present()?;
    Ok(())
}

fn curve(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    legend: SeriesLabelPosition,
    points: &[Point],
    value: impl Fn(&Point) -> f64,
) -> Result<()> {
    let values = points.iter().map(&value);
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.fold(0.0, f64::max);
    let series = points.iter().map(|point| point.series);
    let (first, last) = (series.clone().fold(f64::INFINITY, f64::min), series.fold(0.0, f64::max));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .margin_right(32)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d((first..last).log_scale(), (low / 2.0..high * 2.0).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("stored series")
        .x_label_formatter(&|value| format!("{value:.0}"))
        .light_line_style(WHITE)
        .draw()?;
    for (tidegate, name, color) in
        [(true, "Tidegate", TIDEGATE), (false, "Go Pushgateway", PUSHGATEWAY)]
    {
        let line = points.iter().filter(|point| point.tidegate == tidegate);
        let line: Vec<_> = line.map(|point| (point.series, value(point))).collect();
        chart
            .draw_series(LineSeries::new(line, color.stroke_width(2)).point_size(3))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(legend)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    Ok(())
}
