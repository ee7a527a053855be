//! Tables.

use std::fmt::{self, Formatter};

use super::text::Text;

/// What marks a heading whose numbers are void.
pub(super) fn tag(void: bool) -> &'static str {
    if void {
        " <span class=\"tag\">void</span>"
    } else {
        ""
    }
}

/// A table with a head; the first column names the rows.
pub(super) fn grid(
    f: &mut Formatter<'_>,
    caption: &str,
    columns: &[&str],
    rows: &[Vec<String>],
) -> fmt::Result {
    writeln!(
        f,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\"><table><caption>{0}</caption>",
        Text(caption)
    )?;
    f.write_str("<thead><tr>")?;
    for column in columns {
        write!(f, "<th scope=\"col\">{}</th>", Text(column))?;
    }
    f.write_str("</tr></thead><tbody>\n")?;
    for row in rows {
        f.write_str("<tr>")?;
        for (index, cell) in row.iter().enumerate() {
            match index {
                0 => write!(f, "<th scope=\"row\">{}</th>", Text(cell))?,
                _ => write!(f, "<td>{}</td>", Text(cell))?,
            }
        }
        f.write_str("</tr>\n")?;
    }
    f.write_str("</tbody></table></div>\n")
}

/// Names with their values.
pub(super) fn list(f: &mut Formatter<'_>, entries: &[(&str, String)]) -> fmt::Result {
    f.write_str("<dl>\n")?;
    for (name, value) in entries {
        writeln!(
            f,
            "<div><dt>{}</dt><dd>{}</dd></div>",
            Text(name),
            Text(value)
        )?;
    }
    f.write_str("</dl>\n")
}
