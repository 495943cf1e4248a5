//! A frame: what the model says, in cells.

use ratatui::buffer::Buffer;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{self, Cell, Paragraph, Widget};
use rvs_control::rates::Rates;
use rvs_control::wire::Server;

use super::model::{Model, Moving, Row, Sample, Sort, named};
use crate::show;

/// The most counters that are shown under the table.
const COUNTERS: usize = 8;
/// The lines above the table.
const HEAD: u16 = 3;
/// How wide the first column is at least.
const NAME: u16 = 28;
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

/// How many rows of the table a frame of this size shows.
pub(super) fn rows_in(area: Rect, model: &Model) -> usize {
    let [_, table, _, _] = layout(area, model);
    // The table's head is one line.
    usize::from(table.height.saturating_sub(1))
}

/// How high a frame is that shows everything.
fn whole_height(model: &Model) -> u16 {
    let lines =
        usize::from(HEAD) + 1 + model.rows().len() + usize::from(counters_height(model)) + 1;
    u16::try_from(lines).unwrap_or(u16::MAX)
}

/// Draws a frame.
pub(super) fn draw(model: &Model, area: Rect, buffer: &mut Buffer) {
    let [head, table, counters, foot] = layout(area, model);
    Paragraph::new(head_lines(model)).render(head, buffer);
    draw_table(model, table, buffer);
    draw_counters(model.moving(), counters, buffer);
    Paragraph::new(foot_line(model)).render(foot, buffer);
}

/// Everything as text, without the last line, which is for a person at the keys.
pub(super) fn text(model: &Model, width: u16) -> String {
    let area = Rect::new(0, 0, width, whole_height(model));
    let mut buffer = Buffer::empty(area);
    draw(model, area, &mut buffer);
    let line = |row: Rect| {
        let cells = row
            .columns()
            .filter_map(|cell| buffer.cell(cell.as_position()));
        let text: String = cells.map(ratatui::buffer::Cell::symbol).collect();
        format!("{}\n", text.trim_end())
    };
    let lines = usize::from(area.height.saturating_sub(1));
    area.rows().take(lines).map(line).collect()
}

fn layout(area: Rect, model: &Model) -> [Rect; 4] {
    // Where room is scarce, the counters have what the table leaves, and up to half.
    let room = area.height.saturating_sub(HEAD + 1);
    let rows = u16::try_from(model.rows().len() + 1).unwrap_or(u16::MAX);
    let counters = counters_height(model).min(room.saturating_sub(rows).max(room / 2));
    Layout::vertical([
        Constraint::Length(HEAD),
        Constraint::Fill(1),
        Constraint::Length(counters),
        Constraint::Length(1),
    ])
    .areas(area)
}

/// A title and the counters, if there are any.
fn counters_height(model: &Model) -> u16 {
    match model.moving().len().min(COUNTERS) {
        0 => 0,
        counters => u16::try_from(counters + 2).unwrap_or(u16::MAX),
    }
}

fn head_lines(model: &Model) -> Vec<Line<'_>> {
    let Some(sample) = model.sample() else {
        return vec![Line::raw("RVS")];
    };
    let status = &sample.status;
    let mut first = vec![Span::styled(format!("RVS {}", status.instance), BOLD)];
    let warning = Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD);
    if model.is_paused() {
        first.push(Span::styled(" [paused]", warning));
    }
    if !status.scheduling {
        first.push(Span::styled(" [takes no new connections]", warning));
    }
    first.push(Span::raw(format!(
        " {}, up {}, {} services, {} servers, by {}{}",
        status.version,
        duration(sample.time.saturating_sub(status.started)),
        status.services,
        status.servers,
        model.sort().name(),
        if model.is_reversed() { " reversed" } else { "" },
    )));
    vec![
        Line::from(first),
        table_line(sample),
        rates_line(&status.rates),
    ]
}

fn table_line(sample: &Sample) -> Line<'static> {
    let (status, table) = (&sample.status, &sample.status.table);
    let mut text = format!(
        "Open     {} active, {} inactive; IPv4 table {}, IPv6 table {}",
        status.active,
        status.inactive,
        show::percent(table.used_v4, table.slots_v4),
        show::percent(table.used_v6, table.slots_v6),
    );
    if table.refused > 0 {
        text.push_str(&format!("; {} found no room", short(table.refused)));
    }
    Line::raw(text)
}

fn rates_line(rates: &Rates) -> Line<'static> {
    Line::raw(format!(
        "A second {} connections; in {} packets, {} bytes; out {} packets, {} bytes",
        short(rates.connections),
        short(rates.packets_in),
        short(rates.bytes_in),
        short(rates.packets_out),
        short(rates.bytes_out),
    ))
}

fn foot_line(model: &Model) -> Line<'_> {
    if model.is_typing() {
        return Line::raw(format!("/{}_   Enter: keep, Esc: show all", model.filter()));
    }
    if let Some(error) = model.error() {
        return Line::styled(error, Style::new().fg(Color::Red));
    }
    let mut spans = Vec::new();
    if !model.filter().is_empty() {
        spans.push(Span::styled(format!("/{} ", model.filter()), BOLD));
    }
    spans.push(Span::styled(
        "q quit  space pause  / filter  s servers  sort: a address o open c conn/s p packets/s b bytes/s r reverse",
        DIM,
    ));
    Line::from(spans)
}

/// A column after the first: its title, its width, and how early it gives way where room is scarce.
#[derive(Clone, Copy)]
struct Column {
    title: &'static str,
    width: u16,
    rank: u8,
    sort: Option<Sort>,
}

const fn column(title: &'static str, width: u16, rank: u8, sort: Option<Sort>) -> Column {
    Column {
        title,
        width,
        rank,
        sort,
    }
}

const COLUMNS: [Column; 10] = [
    column("Forward", 7, 6, None),
    column("Weight", 6, 3, None),
    column("Active", 7, 1, Some(Sort::Connections)),
    column("InAct", 7, 2, Some(Sort::Connections)),
    column("CPS", 6, 1, Some(Sort::NewConnections)),
    column("InPPS", 6, 4, Some(Sort::Packets)),
    column("OutPPS", 6, 7, Some(Sort::Packets)),
    column("InBPS", 6, 5, Some(Sort::Bytes)),
    column("OutBPS", 6, 8, Some(Sort::Bytes)),
    column("State", 8, 3, None),
];
/// The columns whose texts stand at the left.
const LEFT: [&str; 2] = ["Forward", "State"];

/// Which columns there is room for.
fn columns(width: u16) -> Vec<bool> {
    let mut ranks: Vec<u8> = COLUMNS.iter().map(|column| column.rank).collect();
    ranks.sort_unstable();
    ranks.dedup();
    let shown = |rank: u8| COLUMNS.iter().map(move |column| column.rank <= rank);
    ranks
        .into_iter()
        .rev()
        .map(|rank| shown(rank).collect::<Vec<bool>>())
        .find(|shown| {
            let columns = COLUMNS.iter().zip(shown).filter(|(_, shown)| **shown);
            NAME + columns.map(|(column, _)| column.width + 1).sum::<u16>() <= width
        })
        .unwrap_or_else(|| shown(1).collect())
}

fn draw_table(model: &Model, area: Rect, buffer: &mut Buffer) {
    let shown = columns(area.width);
    let pick = |cells: Vec<Cell<'static>>, first: Cell<'static>| {
        let cells = cells.into_iter().zip(&shown).filter(|(_, shown)| **shown);
        widgets::Row::new(std::iter::once(first).chain(cells.map(|(cell, _)| cell)))
    };
    let head = COLUMNS
        .iter()
        .map(|column| {
            let marked = column.sort == Some(model.sort());
            let style = if marked { BOLD.underlined() } else { BOLD };
            aligned(column, column.title.to_owned()).style(style)
        })
        .collect();
    let widths = std::iter::once(Constraint::Fill(1)).chain(
        COLUMNS
            .iter()
            .zip(&shown)
            .filter(|(_, shown)| **shown)
            .map(|(column, _)| Constraint::Length(column.width)),
    );
    let rows = model.visible().into_iter().map(|row| {
        let (name, cells, style) = cells(row);
        let cells = COLUMNS
            .iter()
            .zip(cells)
            .map(|(column, text)| aligned(column, text))
            .collect();
        pick(cells, Cell::from(name)).style(style)
    });
    let table = widgets::Table::new(rows, widths)
        .header(pick(head, Cell::from("Service").style(BOLD)))
        .column_spacing(1);
    Widget::render(table, area, buffer);
}

fn aligned(column: &Column, text: String) -> Cell<'static> {
    let side = if LEFT.contains(&column.title) {
        Alignment::Left
    } else {
        Alignment::Right
    };
    Cell::from(Line::raw(text).alignment(side))
}

/// The name, the columns after it, and how the line looks.
fn cells(row: Row<'_>) -> (String, [String; 10], Style) {
    let (name, forward, weight, open, rates, state, style) = match row {
        Row::Service(service) => (
            named(service),
            service.options.scheduler.to_string(),
            String::new(),
            [service.active, service.inactive],
            service.rates,
            "",
            BOLD,
        ),
        Row::Server(server) => (
            format!("  -> {}", server.address),
            show::forward(server),
            server.weight.to_string(),
            [server.active.into(), server.inactive.into()],
            server.rates,
            show::state(server),
            server_style(server),
        ),
    };
    let [active, inactive] = open.map(short);
    let cells = [
        forward,
        weight,
        active,
        inactive,
        short(rates.connections),
        short(rates.packets_in),
        short(rates.packets_out),
        short(rates.bytes_in),
        short(rates.bytes_out),
        state.to_owned(),
    ];
    (name, cells, style)
}

fn server_style(server: &Server) -> Style {
    match (server.removed, server.weight.get()) {
        (true, _) => DIM,
        (false, 0) => Style::new().fg(Color::Yellow),
        (false, _) => Style::new(),
    }
}

fn draw_counters(moving: &[Moving], area: Rect, buffer: &mut Buffer) {
    if moving.is_empty() {
        return;
    }
    let head = widgets::Row::new([
        Cell::from("Moving counters"),
        Cell::from(Line::raw("a second").alignment(Alignment::Right)),
        Cell::from(Line::raw("in all").alignment(Alignment::Right)),
        Cell::from("Meaning"),
    ])
    .style(BOLD);
    let rows = moving.iter().take(COUNTERS).map(|counter| {
        let style = match counter.verdict.as_str() {
            "drop" => Style::new().fg(Color::Red),
            _ => Style::new(),
        };
        let number = |number| Cell::from(Line::raw(short(number)).alignment(Alignment::Right));
        widgets::Row::new([
            Cell::from(counter.name.clone()),
            number(counter.per_second),
            number(counter.value),
            Cell::from(counter.help.clone()),
        ])
        .style(style)
    });
    let widths = [
        Constraint::Length(26),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Fill(1),
    ];
    let table = widgets::Table::new(rows, widths)
        .header(head.top_margin(1))
        .column_spacing(1);
    Widget::render(table, area, buffer);
}

/// At most six characters: `12345`, `123.4K`, `12.3M`.
fn short(number: u64) -> String {
    const UNITS: [char; 6] = ['K', 'M', 'G', 'T', 'P', 'E'];
    if number < 100_000 {
        return number.to_string();
    }
    let mut unit = 1_000_u64;
    for letter in UNITS {
        if number / unit < 1_000 {
            return format!("{}.{}{letter}", number / unit, number % unit / (unit / 10));
        }
        unit = unit.saturating_mul(1_000);
    }
    // Not reached: the last unit's thousandfold is beyond 64 bits.
    number.to_string()
}

/// `3d 04:05`, `04:05:06`.
fn duration(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    match days {
        0 => format!("{hours:02}:{minutes:02}:{seconds:02}"),
        days => format!("{days}d {hours:02}:{minutes:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_six_characters() {
        for (number, text) in [
            (0, "0"),
            (99_999, "99999"),
            (100_000, "100.0K"),
            (999_999, "999.9K"),
            (1_000_000, "1.0M"),
            (12_345_678, "12.3M"),
            (999_999_999_999, "999.9G"),
            (u64::MAX, "18.4E"),
        ] {
            assert_eq!(short(number), text);
        }
    }

    #[test]
    fn durations() {
        for (seconds, text) in [(0, "00:00:00"), (86_399, "23:59:59"), (273_906, "3d 04:05")] {
            assert_eq!(duration(seconds), text);
        }
    }
}
