//! Pictures, as SVG: bars for one figure, curves for latencies.

use std::fmt::Write as _;

use bench_harness::summary::{Summary, is_ours};
use bench_harness::{Failure, Figure, Place};
use plotters::prelude::*;

use crate::report::Row;

/// One figure of a row: a bar for each contender, the best first, with a line from the smallest to the largest sample.
pub fn bars(row: &Row, place: Place) -> String {
    let figure = row.shows[0];
    let sorted = row.standing.sorted(place, figure);
    let spreads: Vec<_> = sorted
        .iter()
        .filter_map(|summary| Some((*summary, *summary.figures.get(&figure)?)))
        .collect();
    let most = spreads
        .iter()
        .map(|(_, spread)| spread.high)
        .fold(f64::MIN_POSITIVE, f64::max);
    let names = spreads
        .iter()
        .map(|(summary, _)| summary.contender.chars().count())
        .max()
        .unwrap_or(0);
    let left = 24.0 + 7.0 * names as f64;
    let scale = BAR_WIDTH / most;
    let height = 46.0 + ROW_HEIGHT * spreads.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         font-family=\"sans-serif\" font-size=\"13\"><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\
         <text x=\"12\" y=\"22\" font-weight=\"bold\">{}, {} ({})</text>",
        escape(&row.name),
        figure.label(),
        figure.unit(),
        width = left + BAR_WIDTH + 150.0,
    );
    for (index, (summary, spread)) in spreads.iter().enumerate() {
        let y = 36.0 + ROW_HEIGHT * index as f64;
        let (colour, weight) = if is_ours(summary) {
            (OURS, "bold")
        } else {
            (THEIRS, "normal")
        };
        let middle = y + 9.0;
        write!(
            svg,
            "<text x=\"{x:.0}\" y=\"{text:.0}\" text-anchor=\"end\" font-weight=\"{weight}\">{name}</text>\
             <rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"18\" fill=\"{colour}\"/>\
             <path d=\"M{low:.1} {middle:.1}H{high:.1}\" stroke=\"#222\" stroke-width=\"1.5\"/>\
             <text x=\"{after:.1}\" y=\"{text:.0}\">{value}</text>",
            x = left - 8.0,
            text = y + 14.0,
            name = escape(&summary.contender),
            width = (spread.median * scale).max(1.0),
            low = left + spread.low * scale,
            high = left + spread.high * scale,
            after = left + spread.high.max(spread.median) * scale + 8.0,
            value = figure.show(spread.median),
        )
        .expect("a string takes all");
    }
    svg += "</svg>\n";
    svg
}

/// The latencies of a row's contenders over a percentile axis: each step to the right is a tenth of what is left.
///
/// # Errors
/// When it cannot be drawn.
pub fn percentiles(row: &Row, place: Place) -> Result<Option<String>, Failure> {
    let of_place: Vec<&Summary> = row
        .standing
        .summaries
        .iter()
        .filter(|summary| summary.place == place)
        .collect();
    let mut curves = Vec::new();
    for summary in of_place {
        let Some(latency) = &summary.latency else {
            continue;
        };
        let end = (latency.count().max(10) as f64).log10().min(5.0);
        let steps = (end * 20.0) as u32;
        let point = |step: u32| {
            let x = f64::from(step) / 20.0;
            (x, latency.quantile_ns(1.0 - 10f64.powf(-x)) as f64 / 1e3)
        };
        curves.push(Curve {
            name: summary.contender.clone(),
            ours: is_ours(summary),
            points: (0..=steps).map(point).collect(),
        });
    }
    let label = |x: f64| match x.round() as i32 {
        0 => "least".to_owned(),
        1 => "90 %".to_owned(),
        nines => format!(
            "99{}{} %",
            if nines > 2 { "." } else { "" },
            "9".repeat(nines as usize - 2)
        ),
    };
    draw(&row.name, "percentile", &curves, Axis::Linear(&label))
}

/// One figure over the number in which rows differ, of samples that were taken within a place.
///
/// # Errors
/// When it cannot be drawn.
pub fn curve(rows: &[&Row], place: Place, figure: Figure) -> Result<Option<String>, Failure> {
    let mut curves: Vec<Curve> = Vec::new();
    let mut points: Vec<_> = rows
        .iter()
        .filter_map(|row| Some((row.point.as_ref()?.at, *row)))
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (at, row) in points {
        for summary in row
            .standing
            .summaries
            .iter()
            .filter(|summary| place.has(summary.place))
        {
            let Some(spread) = summary.figures.get(&figure) else {
                continue;
            };
            let point = (at, spread.median);
            match curves
                .iter_mut()
                .find(|curve| curve.name == summary.contender)
            {
                Some(curve) => curve.points.push(point),
                None => curves.push(Curve {
                    name: summary.contender.clone(),
                    ours: is_ours(summary),
                    points: vec![point],
                }),
            }
        }
    }
    let Some(point) = rows.first().and_then(|row| row.point.as_ref()) else {
        return Ok(None);
    };
    let title = format!("{}: {}", point.curve, figure.label());
    draw(&title, &point.axis, &curves, Axis::Logarithmic)
}

struct Curve {
    name: String,
    ours: bool,
    points: Vec<(f64, f64)>,
}

enum Axis<'a> {
    Linear(&'a dyn Fn(f64) -> String),
    Logarithmic,
}

/// The curves and their names; a macro because the two kinds of charts are two types.
macro_rules! series {
    ($chart:ident, $curves:ident, $names:expr) => {
        for (index, curve) in $curves.iter().enumerate() {
            let style = colour(index).stroke_width(if curve.ours { 3 } else { 1 });
            $chart
                .draw_series(LineSeries::new(curve.points.iter().copied(), style))
                .map_err(text)?
                .label(curve.name.clone())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
        $chart
            .configure_series_labels()
            .position($names)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()
            .map_err(text)?;
    };
}
/// Curves over an axis; the other one is microseconds, logarithmic.
fn draw(
    title: &str,
    across: &str,
    curves: &[Curve],
    axis: Axis<'_>,
) -> Result<Option<String>, Failure> {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    if all().count() < 2 {
        return Ok(None);
    }
    let least = all()
        .map(|point| point.1)
        .fold(f64::MAX, f64::min)
        .max(0.01)
        * 0.8;
    let most = all().map(|point| point.1).fold(0.0, f64::max) * 1.3;
    let (from, to) = (
        all().map(|point| point.0).fold(f64::MAX, f64::min),
        all().map(|point| point.0).fold(0.0, f64::max),
    );
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (900, 420)).into_drawing_area();
        area.fill(&WHITE).map_err(text)?;
        let mut builder = ChartBuilder::on(&area);
        builder
            .caption(title, ("sans-serif", 16))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(72);
        let up = (least..most).log_scale();
        let micros = |us: &f64| Figure::P50Us.show(*us);
        match axis {
            Axis::Linear(label) => {
                let shown = |x: &f64| label(*x);
                let mut chart = builder
                    .build_cartesian_2d(from..to.max(from + 1.0), up)
                    .map_err(text)?;
                let mut mesh = chart.configure_mesh();
                mesh.x_labels(6).x_label_formatter(&shown).x_desc(across);
                mesh.y_label_formatter(&micros)
                    .y_desc("µs")
                    .light_line_style(WHITE)
                    .draw()
                    .map_err(text)?;
                series!(chart, curves, SeriesLabelPosition::LowerRight);
            }
            Axis::Logarithmic => {
                let mut chart = builder
                    .build_cartesian_2d((from..to * 1.01).log_scale(), up)
                    .map_err(text)?;
                let mut mesh = chart.configure_mesh();
                mesh.x_label_formatter(&|x| Figure::PerSecond.show(*x))
                    .x_desc(across);
                mesh.y_label_formatter(&micros)
                    .y_desc("µs")
                    .light_line_style(WHITE)
                    .draw()
                    .map_err(text)?;
                series!(chart, curves, SeriesLabelPosition::UpperLeft);
            }
        }
        area.present().map_err(text)?;
    }
    Ok(Some(svg))
}

/// Colours that people who see few can tell apart (Okabe and Ito).
fn colour(index: usize) -> RGBColor {
    const COLOURS: [(u8, u8, u8); 8] = [
        (0, 114, 178),
        (213, 94, 0),
        (0, 158, 115),
        (204, 121, 167),
        (230, 159, 0),
        (86, 180, 233),
        (0, 0, 0),
        (150, 150, 150),
    ];
    let (red, green, blue) = COLOURS[index % COLOURS.len()];
    RGBColor(red, green, blue)
}

fn text(error: impl std::fmt::Display) -> Failure {
    format!("a chart cannot be drawn: {error}")
}

/// For text in SVG and HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

const BAR_WIDTH: f64 = 460.0;
const ROW_HEIGHT: f64 = 26.0;
const OURS: &str = "#0072b2";
const THEIRS: &str = "#b0b7bd";
