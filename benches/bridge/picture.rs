//! The ratios as a picture: one line per figure and program, from the least to the most, with a dot at the median.

use crate::report::{FIGURES, Round, ratios, short};
use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
/// Where the ratios begin, right of the names.
const LEFT: f64 = 250.0;
const RIGHT: f64 = 60.0;
const ROW: f64 = 20.0;
const TOP: f64 = 56.0;
/// Ratios beyond it are drawn at the edge.
const RATIO_MAX: f64 = 3.5;
const COLOURS: [&str; 6] = ["#1f6feb", "#2da44e", "#bf8700", "#cf222e", "#8250df", "#57606a"];

/// An SVG of `programs`, of which the first is the one that all are compared with.
pub fn svg(programs: &[(String, Vec<Round>)]) -> String {
    let (base, others) = (&programs[0].1, &programs[1..]);
    let figures: Vec<_> = FIGURES.iter().filter(|figure| base.iter().any(|round| (figure.of)(round) > 0.0)).collect();
    let block = ROW * others.len() as f64 + 14.0;
    let height = TOP + block * figures.len() as f64 + 24.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    legend(&mut svg, others);
    for ratio in [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5] {
        let (x, colour) = (place(ratio), if ratio == 1.0 { "#24292f" } else { "#d0d7de" });
        write!(
            svg,
            "<line x1=\"{x}\" y1=\"{}\" x2=\"{x}\" y2=\"{}\" stroke=\"{colour}\"/>\n\
             <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" fill=\"#57606a\">{ratio}</text>\n",
            TOP - 8.0,
            height - 20.0,
            height - 6.0
        )
        .expect("a string grows");
    }
    for (number, figure) in figures.iter().enumerate() {
        let top = TOP + block * number as f64;
        let middle = top + ROW * others.len() as f64 / 2.0;
        writeln!(svg, "<text x=\"8\" y=\"{}\" fill=\"#24292f\">{}</text>", middle + 4.0, figure.name)
            .expect("a string grows");
        for (position, (_, rounds)) in others.iter().enumerate() {
            let mut values = ratios(figure, rounds, base);
            values.retain(|ratio| ratio.is_finite());
            values.sort_by(f64::total_cmp);
            if let [least, .., most] | [least @ most] = values[..] {
                let y = top + ROW * (position as f64 + 0.5);
                line(&mut svg, y, COLOURS[position % COLOURS.len()], [least, values[values.len() / 2], most]);
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn legend(svg: &mut String, others: &[(String, Vec<Round>)]) {
    writeln!(svg, "<text x=\"8\" y=\"18\" fill=\"#24292f\">1 is the plain program of the same round</text>")
        .expect("a string grows");
    let mut x = LEFT;
    for (position, (name, _)) in others.iter().enumerate() {
        let colour = COLOURS[position % COLOURS.len()];
        writeln!(
            svg,
            "<circle cx=\"{x}\" cy=\"32\" r=\"5\" fill=\"{colour}\"/><text x=\"{}\" y=\"36\" fill=\"#24292f\">{name}</text>",
            x + 10.0
        )
        .expect("a string grows");
        x += 24.0 + 7.0 * name.chars().count() as f64;
    }
}

fn line(svg: &mut String, y: f64, colour: &str, [least, median, most]: [f64; 3]) {
    writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{y}\" x2=\"{:.1}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"3\"/>\
         <circle cx=\"{:.1}\" cy=\"{y}\" r=\"5\" fill=\"{colour}\"/>\
         <text x=\"{:.1}\" y=\"{}\" fill=\"#24292f\">{}</text>",
        place(least),
        place(most),
        place(median),
        place(most) + 9.0,
        y + 4.0,
        short(median)
    )
    .expect("a string grows");
}

fn place(ratio: f64) -> f64 {
    LEFT + ratio.clamp(0.0, RATIO_MAX) / RATIO_MAX * (WIDTH - LEFT - RIGHT)
}
