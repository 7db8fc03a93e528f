//! The costs as a bar chart: one bar for each recording, made of its groups.

use std::fmt::Write;

use crate::cases::Measured;
use crate::report::Results;

const GROUPS: [(&str, &str); 4] =
    [("browser", "#3a7ca5"), ("display", "#7fb069"), ("sound", "#b07fa8"), ("recorder", "#e0a030")];
const LEFT: f64 = 230.0;
const WIDTH: f64 = 900.0;
const ROW: f64 = 26.0;

pub(crate) fn svg(results: &Results) -> String {
    let most = results.recordings.iter().map(|row| row.costs.cores_in_all).fold(0.5, f64::max);
    let scale = (WIDTH - LEFT - 100.0) / most;
    let height = 70.0 + ROW * results.recordings.len() as f64;
    let mut text = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="DejaVu Sans, sans-serif" font-size="13"><rect width="{WIDTH}" height="{height}" fill="#fff"/>"##
    );
    let mut x = LEFT;
    for (name, colour) in GROUPS {
        draw(&mut text, format_args!(r#"<rect x="{x}" y="12" width="12" height="12" fill="{colour}"/>"#));
        draw(&mut text, format_args!(r#"<text x="{}" y="23">{name}</text>"#, x + 17.0));
        x += 110.0;
    }
    for half in 0..=(most * 2.0) as usize {
        let x = LEFT + half as f64 / 2.0 * scale;
        draw(&mut text, format_args!(r##"<path d="M{x} 36V{}" stroke="#ddd"/>"##, height - 26.0));
        let label = half as f64 / 2.0;
        draw(
            &mut text,
            format_args!(r#"<text x="{x}" y="{}" text-anchor="middle">{label}</text>"#, height - 10.0),
        );
    }
    for (i, row) in results.recordings.iter().enumerate() {
        bar(&mut text, row, 40.0 + ROW * i as f64, scale);
    }
    text + "</svg>\n"
}

fn bar(text: &mut String, row: &Measured, y: f64, scale: f64) {
    let live = if row.live { ", live" } else { "" };
    let grid = if row.grid { ", grid" } else { "" };
    let label = format!("{}{live}{grid}, {}, {}", row.page, row.size, row.capture);
    draw(text, format_args!(r#"<text x="{}" y="{}" text-anchor="end">{label}</text>"#, LEFT - 8.0, y + 14.0));
    let mut x = LEFT;
    for (name, colour) in GROUPS {
        let width = row.costs.cores.get(name).copied().unwrap_or_default() * scale;
        draw(
            text,
            format_args!(r#"<rect x="{x:.1}" y="{y}" width="{width:.1}" height="18" fill="{colour}"/>"#),
        );
        x += width;
    }
    let (x, y, sum) = (x + 6.0, y + 14.0, row.costs.cores_in_all);
    draw(text, format_args!(r#"<text x="{x:.1}" y="{y}">{sum:.2} cores</text>"#));
}

fn draw(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes all");
}
