//! The table as a chart: for each workload one bar for each server, with a length in proportion to
//! the best rate.

use std::fmt::Write as _;

use super::{Standing, Table};

const WIDTH: u32 = 900;
const LABEL: u32 = 220;
/// Space for the figure after the longest bar.
const FIGURE: u32 = 90;
const BAR: u32 = 14;
const ROW: u32 = 18;
const TITLE: u32 = 34;

/// The chart, as SVG.
pub fn svg(table: &Table) -> String {
    let workloads: Vec<_> = table.workloads().collect();
    let bars: usize = workloads.iter().map(|&workload| table.rows(workload).count()).sum();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let height = TITLE * count(workloads.len()) + ROW * count(bars) + 10;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    let mut y = 0;
    for workload in workloads {
        y += TITLE;
        let title = y - 10;
        let _ = writeln!(
            svg,
            "<text x=\"4\" y=\"{title}\" font-size=\"13\" font-weight=\"bold\">{workload} \
             (messages a second)</text>"
        );
        let most = table.rows(workload).map(|row| row.cell.rate).fold(f64::EPSILON, f64::max);
        for row in table.rows(workload) {
            let length = f64::from(WIDTH - LABEL - FIGURE) * row.cell.rate / most;
            let fill = match row.standing {
                Standing::Ours => "#1b6ca8",
                Standing::Durable => "#8a8a8a",
                Standing::NotDurable => "#d8a657",
                Standing::Limit => "#dddddd",
            };
            let text = y + BAR - 3;
            let name = escaped(row.name);
            let _ = writeln!(
                svg,
                "<text x=\"4\" y=\"{text}\">{name}</text>\
                 <rect x=\"{LABEL}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\" fill=\"{fill}\"/>\
                 <text x=\"{:.1}\" y=\"{text}\">{}</text>",
                f64::from(LABEL) + length + 6.0,
                super::document::figure(row.cell.rate)
            );
            y += ROW;
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::{WORKLOAD, table};
    use super::super::{Cell, Standing};
    use super::*;

    #[test]
    fn the_longest_bar_is_the_fastest_and_the_others_are_in_proportion() {
        let svg = svg(&table(WORKLOAD));
        let widths: Vec<f64> = svg
            .lines()
            .filter(|line| line.starts_with("<text x=\"4\"") && line.contains("<rect"))
            .filter_map(|line| line.split("width=\"").nth(1)?.split('"').next()?.parse().ok())
            .collect();
        assert_eq!(widths.len(), 5);
        assert!((widths[0] - 590.0).abs() < 0.1, "{widths:?}");
        assert!((widths[1] / widths[0] - 1.0 / 3.0).abs() < 0.001, "{widths:?}");
    }

    #[test]
    fn a_name_cannot_break_the_chart() {
        let mut table = Table::default();
        table.add(WORKLOAD, "a<b&c", Standing::Durable, Cell::default());
        assert!(svg(&table).contains(">a&lt;b&amp;c</text>"));
    }
}
