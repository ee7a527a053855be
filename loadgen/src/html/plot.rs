//! Line plots as SVG. Colours and line styles are those of the page's style
//! sheet, so that they follow light and dark.

use std::fmt::{self, Formatter};

use super::axis::Axis;
use super::text::Text;

/// A line plot.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    /// Across.
    pub(super) x: Axis,
    /// Upwards.
    pub(super) y: Axis,
    /// Drawn in this order.
    pub(super) lines: Vec<Line>,
    /// What is told of a place on the x axis when one points at it.
    pub(super) hints: Vec<(f64, String)>,
    /// What can be seen, for those who can not see it.
    pub(super) description: String,
}

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// In the legend.
    pub(super) name: &'static str,
    /// A class of the style sheet: colour and dashes.
    pub(super) style: &'static str,
    /// From left to right. A missing value makes a gap.
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// How large a plot is drawn; text is not scaled with it, so a narrow screen
/// has a drawing of its own.
#[derive(Clone, Copy, Debug)]
struct Frame {
    class: &'static str,
    width: f64,
    height: f64,
}

const FRAMES: [Frame; 2] = [
    Frame {
        class: "wide",
        width: 860.0,
        height: 300.0,
    },
    Frame {
        class: "narrow",
        width: 360.0,
        height: 250.0,
    },
];

/// Room for the numbers of the y axis, and for those of the x axis.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 44.0;

/// Lines with fewer points than these have them marked.
const FEW: usize = 40;

/// Width of a character of the numbers.
const CHARACTER: f64 = 7.0;

impl Plot {
    /// Writes legend and drawings.
    pub(super) fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.lines.len() > 1 {
            f.write_str("<p class=\"legend\">")?;
            for line in &self.lines {
                write!(
                    f,
                    "<span><svg class=\"key\" viewBox=\"0 0 28 10\" aria-hidden=\"true\"><path \
                     class=\"line {}\" d=\"M0 5H28\"/></svg>{}</span>",
                    line.style,
                    Text(line.name)
                )?;
            }
            f.write_str("</p>\n")?;
        }
        FRAMES.iter().try_for_each(|frame| self.draw(f, *frame))
    }

    fn draw(&self, f: &mut Formatter<'_>, frame: Frame) -> fmt::Result {
        let Frame {
            class,
            width,
            height,
        } = frame;
        writeln!(
            f,
            "<svg class=\"plot {class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             aria-label=\"{}\">",
            Text(&self.description)
        )?;
        self.grid(f, frame)?;
        for line in &self.lines {
            self.line(f, frame, line)?;
        }
        self.hints(f, frame)?;
        f.write_str("</svg>\n")
    }

    fn grid(&self, f: &mut Formatter<'_>, frame: Frame) -> fmt::Result {
        let (right, bottom) = (frame.width - RIGHT, frame.height - BOTTOM);
        for (value, text) in &self.y.ticks {
            let y = frame.y(self.y.place(*value));
            write!(
                f,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text class=\"end\" x=\"{:.1}\" \
                 y=\"{:.1}\">{}</text>",
                LEFT - 7.0,
                y + 4.0,
                Text(text)
            )?;
        }
        let mut free = f64::MIN;
        for (value, text) in &self.x.ticks {
            let x = frame.x(self.x.place(*value));
            write!(f, "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/>")?;
            let half = text.chars().count() as f64 * CHARACTER / 2.0;
            let at = x.min(frame.width - half);
            if at - half < free {
                continue;
            }
            free = at + half + CHARACTER;
            write!(
                f,
                "<text class=\"middle\" x=\"{at:.1}\" y=\"{:.1}\">{}</text>",
                bottom + 17.0,
                Text(text)
            )?;
        }
        writeln!(
            f,
            "<path class=\"axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/><text class=\"middle label\" \
             x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            f64::midpoint(LEFT, right),
            frame.height - 7.0,
            Text(&self.x.label)
        )
    }

    fn line(&self, f: &mut Formatter<'_>, frame: Frame, line: &Line) -> fmt::Result {
        write!(f, "<path class=\"line {}\" d=\"", line.style)?;
        let mut pen_down = false;
        for &(x, y) in &line.points {
            if let Some(y) = y {
                let command = if pen_down { 'L' } else { 'M' };
                let (x, y) = (frame.x(self.x.place(x)), frame.y(self.y.place(y)));
                write!(f, "{command}{x:.1} {y:.1}")?;
            }
            pen_down = y.is_some();
        }
        f.write_str("\"/>")?;
        if line.points.len() < FEW {
            for (x, y) in &line.points {
                if let Some(y) = y {
                    let (x, y) = (frame.x(self.x.place(*x)), frame.y(self.y.place(*y)));
                    write!(
                        f,
                        "<circle class=\"{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"/>",
                        line.style
                    )?;
                }
            }
        }
        f.write_str("\n")
    }

    /// A transparent column around each place, as wide as to its neighbours.
    fn hints(&self, f: &mut Formatter<'_>, frame: Frame) -> fmt::Result {
        let places: Vec<f64> = self
            .hints
            .iter()
            .map(|(x, _)| frame.x(self.x.place(*x)))
            .collect();
        let (left, right) = (LEFT, frame.width - RIGHT);
        for (index, (_, text)) in self.hints.iter().enumerate() {
            let here = places[index];
            let before = index
                .checked_sub(1)
                .map_or(left, |before| f64::midpoint(places[before], here));
            let after = places
                .get(index + 1)
                .map_or(right, |&after| f64::midpoint(here, after));
            write!(
                f,
                "<rect class=\"hint\" x=\"{before:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\">\
                 <title>{}</title></rect>",
                (after - before).max(0.0),
                frame.height - BOTTOM - TOP,
                Text(text)
            )?;
        }
        f.write_str("\n")
    }
}

impl Frame {
    fn x(self, place: f64) -> f64 {
        LEFT + place * (self.width - RIGHT - LEFT)
    }

    fn y(self, place: f64) -> f64 {
        self.height - BOTTOM - place * (self.height - BOTTOM - TOP)
    }
}
