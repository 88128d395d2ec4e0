//! The screen: pure, from the model to cells.
//!
//! ```text
//!  up to 139 columns     from 140 columns and 30 lines on
//!  +------------------+  +--------------------------------+
//!  | header           |  | header                         |
//!  | companies        |  | companies       | holds        |
//!  | accounts         |  |                 | alarms       |
//!  | holds            |  | accounts        |              |
//!  | alarms           |  |                 | events       |
//!  | events           |  |                 |              |
//!  | footer           |  | footer                         |
//!  +------------------+  +--------------------------------+
//! ```
//!
//! The lines that are left go to the panes that have use for them, most to the one that the keys go to.

mod header;
mod overlay;
mod panes;
mod row;
#[cfg(test)]
mod tests;
mod theme;
mod words;

pub use theme::Theme;

use super::model::{Model, Pane};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use row::Row;
use theme::Tone;

/// A smaller screen shows that it is too small.
const COLUMNS_MIN: u16 = 60;
const LINES_MIN: u16 = 20;
/// From here on there is room for two columns of panes.
const WIDE_COLUMNS: u16 = 140;
const WIDE_LINES: u16 = 30;
/// Columns of a snapshot.
const SNAPSHOT_COLUMNS: usize = 130;

/// Draws everything into `buffer`.
pub fn draw(model: &Model, theme: Theme, buffer: &mut Buffer) {
    let area = buffer.area;
    buffer.reset();
    if area.width < COLUMNS_MIN || area.height < LINES_MIN {
        too_small(theme, buffer);
    } else {
        let lines_max = if area.height >= WIDE_LINES { 9 } else { 6 };
        let header = header::header(model, theme, area.width.into(), lines_max);
        let top = u16::try_from(header.len()).unwrap_or(area.height);
        write(header, buffer, Rect { height: top, ..area });
        let body = Rect { y: area.y + top, height: area.height.saturating_sub(top + 1), ..area };
        if area.width >= WIDE_COLUMNS && area.height >= WIDE_LINES {
            let left = area.width * 3 / 5;
            stack(model, theme, &[Pane::Companies, Pane::Accounts], Rect { width: left - 1, ..body }, buffer);
            let right = Rect { x: area.x + left, width: area.width - left, ..body };
            stack(model, theme, &[Pane::Holds, Pane::Alarms, Pane::Events], right, buffer);
        } else {
            stack(model, theme, &Pane::ALL, body, buffer);
        }
        let footer = Rect { y: area.bottom().saturating_sub(1), height: 1, ..area };
        write(vec![overlay::footer(model, theme, area.width.into())], buffer, footer);
        if model.help {
            overlay::help(theme, body, buffer);
        } else if let Some(details) = &model.details {
            overlay::details(details, theme, body, buffer);
        }
    }
    seal(buffer);
}

/// What is known as plain text, every company, account and hold in a line.
pub fn snapshot(model: &Model) -> impl Iterator<Item = String> {
    let header = header::header(model, Theme { colours: false }, SNAPSHOT_COLUMNS, usize::MAX);
    header.into_iter().map(|row| row.to_text()).chain(panes::all_rows(model, SNAPSHOT_COLUMNS))
}

fn too_small(theme: Theme, buffer: &mut Buffer) {
    let Rect { width, height, .. } = buffer.area;
    let mut row = Row::default();
    let text = format!("{width}x{height} is too small: make it {COLUMNS_MIN}x{LINES_MIN}");
    row.text(&text, theme.style(Tone::Warning));
    write(vec![row], buffer, buffer.area);
}

fn write(rows: Vec<Row>, buffer: &mut Buffer, area: Rect) {
    for (row, y) in rows.into_iter().zip(area.y..area.bottom()) {
        row.draw(buffer, area.x, y, area.width);
    }
}

/// Draws panes below each other.
fn stack(model: &Model, theme: Theme, panes: &[Pane], area: Rect, buffer: &mut Buffer) {
    let heights = share(model, panes, area.height.into());
    let mut y = area.y;
    for (pane, height) in panes.iter().zip(heights) {
        let rows = panes::rows(model, theme, *pane, area.width.into(), height);
        let height = u16::try_from(height).unwrap_or(u16::MAX);
        write(rows, buffer, Rect { y, height, ..area }.intersection(area));
        y = y.saturating_add(height).min(area.bottom());
    }
}

/// How many lines each pane gets of `lines`.
///
/// Each gets what makes it worth showing; then one line after the other goes to the pane that has the least for its
/// weight and still has use for one.
fn share(model: &Model, panes: &[Pane], lines: usize) -> Vec<usize> {
    let least = |pane: Pane| match pane {
        Pane::Companies | Pane::Accounts => 3,
        Pane::Holds | Pane::Alarms | Pane::Events => 2,
    };
    let weight = |pane: Pane| {
        let own = match pane {
            Pane::Companies => 2,
            Pane::Accounts => 6,
            Pane::Holds | Pane::Alarms => 1,
            Pane::Events => 4,
        };
        own + if model.focus == pane { 3 } else { 0 }
    };
    let mut heights: Vec<usize> = panes.iter().map(|pane| least(*pane)).collect();
    let mut left = lines.saturating_sub(heights.iter().sum());
    while left > 0 {
        let neediest = panes
            .iter()
            .enumerate()
            .filter(|(index, pane)| heights[*index] < panes::wanted(model, **pane))
            .min_by_key(|(index, pane)| heights[*index] * 100 / weight(**pane));
        let Some((index, _)) = neediest else { break };
        heights[index] += 1;
        left -= 1;
    }
    heights
}

/// The last look before the terminal: whatever way a character took, none that a terminal obeys gets out.
fn seal(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        if cell.symbol().contains(char::is_control) {
            cell.set_symbol("?");
        }
    }
}
