use super::{Theme, draw, snapshot};
use crate::cli::watch::model::Model;
use crate::cli::watch::scripted::{after, empty, path, perform, press};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, CellWidth};
use ratatui::layout::Rect;
use ratatui::style::Color;

const PLAIN: Theme = Theme { colours: false };

fn drawn(model: &Model, theme: Theme, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| draw(model, theme, frame.buffer_mut())).expect("drawn");
    terminal.backend().buffer().clone()
}

/// The screen as lines; a wide character stands for both of its columns.
fn lines(buffer: &Buffer) -> Vec<String> {
    let Rect { width, height, .. } = buffer.area;
    let line = |y: u16| {
        let mut text = String::new();
        let mut x = 0;
        while x < width {
            let symbol = buffer[(x, y)].symbol();
            text.push_str(symbol);
            x += symbol.cell_width().max(1);
        }
        text.trim_end().to_owned()
    };
    (0..height).map(line).collect()
}

/// Compares with a file of `tests/data/watch`; `SENDBRIDGE_REWRITE=1` writes it anew: read the difference.
fn assert_golden(name: &str, found: &[String]) {
    let file = path(name);
    let found = found.join("\n") + "\n";
    if std::env::var_os("SENDBRIDGE_REWRITE").is_some() {
        std::fs::write(&file, &found).expect("a file");
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(found == expected, "{name} is different:\n{found}\nSENDBRIDGE_REWRITE=1 writes it anew");
}

fn assert_screen(name: &str, model: &Model, width: u16, height: u16) {
    assert_golden(name, &lines(&drawn(model, PLAIN, width, height)));
}

#[test]
fn a_bridge_at_work_on_screens_of_every_size() {
    let model = after("bridge.topics");
    assert_screen("80x24.txt", &model, 80, 24);
    assert_screen("200x60.txt", &model, 200, 60);
    assert_screen("60x20.txt", &model, 60, 20);
    assert_screen("120x40.txt", &model, 120, 40);
}

#[test]
fn before_anything_arrived_nothing_is_invented() {
    assert_screen("nothing-80x24.txt", &empty(), 80, 24);
}

#[test]
fn a_lost_broker_and_old_figures_are_told() {
    let mut model = after("bridge.topics");
    perform(&mut model, "at 2026-03-02T06:32:30Z\nlive sendbridge/health {\"nonsense\":1}");
    perform(&mut model, "disconnected 4 connection refused\nat 2026-03-02T06:32:32Z");
    assert_screen("lost-80x24.txt", &model, 80, 24);
}

#[test]
fn lines_and_sheets_over_the_panes() {
    let mut model = after("bridge.topics");
    press(&mut model, "<Down>pthe phone is lost");
    assert_screen("pause-80x24.txt", &model, 80, 24);
    press(&mut model, "<Esc>?");
    assert_screen("help-80x24.txt", &model, 80, 24);
    press(&mut model, "<Esc>");
    press(&mut model, "c");
    let reply = r#"{"status":"ok","data":{"account":"1688850000000002","corp":null,"hour":{"used":3,"limit":50000},"history":[{"state":"sent"},{"state":"客服"}]},"transaction":"watch-test-1"}"#;
    perform(&mut model, &format!("live sendbridge/response/account/get {reply}"));
    assert_screen("details-80x24.txt", &model, 80, 24);
}

#[test]
fn a_filter_shows_what_has_it_and_says_so() {
    let mut model = after("bridge.topics");
    press(&mut model, "/客服<Enter> ");
    perform(&mut model, "live sendbridge/event/send/sent {\"account\":\"客服小王\",\"id\":1}");
    assert_screen("filter-80x24.txt", &model, 80, 24);
}

#[test]
fn the_snapshot_has_every_account() {
    let mut model = after("bridge.topics");
    press(&mut model, "ss");
    assert_golden("snapshot.txt", &snapshot(&model).collect::<Vec<_>>());
}

#[test]
fn no_size_makes_it_panic() {
    let mut model = after("bridge.topics");
    for width in [0, 1, 2, 59, 60, 61, 79, 139, 140, 141, 400] {
        for height in [0, 1, 2, 19, 20, 21, 29, 30, 31, 120] {
            for keys in ["", "?", "<Esc>c", "<Esc>/x", "<Esc><Esc>p", "<Esc><Tab>"] {
                press(&mut model, keys);
                let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
                draw(&model, PLAIN, &mut buffer);
            }
        }
    }
}

#[test]
fn nothing_hostile_reaches_the_terminal() {
    let evil = "x\\u001b]0;owned\\u0007\\u001b[2J\\u009b31m\\u202e\\r\\n\\u0000y";
    let mut model = after("bridge.topics");
    let report = std::fs::read_to_string(path("bridge.topics")).expect("a script");
    let hostile = report.replace("1688850000000002", evil).replace("kiosk", evil).replace("main", evil);
    // The topics themselves stay topics: a broker lets no control character into one.
    let hostile: Vec<String> = hostile
        .lines()
        .map(|line| {
            let mut words = line.splitn(3, ' ');
            let (verb, topic, rest) = (words.next().unwrap_or(""), words.next().unwrap_or(""), words.next());
            format!("{verb} {} {}", topic.replace(evil, "evil"), rest.unwrap_or_default()).trim_end().to_owned()
        })
        .collect();
    perform(&mut model, &hostile.join("\n"));
    perform(&mut model, &format!("live sendbridge/alarm {{\"what\":\"{evil}\",\"message\":\"{evil}\"}}"));
    perform(&mut model, &format!("stored sendbridge/state {{\"state\":\"{evil}\"}}"));
    perform(&mut model, &format!("live sendbridge/event/a/b {{\"account\":\"{evil}\"}}"));
    press(&mut model, "c");
    perform(
        &mut model,
        &format!(
            "live sendbridge/response/account/get {{\"status\":\"ok\",\"data\":{{\"{evil}\":\"{evil}\"}},\"transaction\":\"watch-test-1\"}}"
        ),
    );
    assert!(model.details.as_ref().is_some_and(|details| details.lines.is_some()), "the reply was taken");
    for keys in ["", "<Esc>p", "<Esc>"] {
        press(&mut model, keys);
        for (width, height) in [(80, 24), (200, 60)] {
            let buffer = drawn(&model, Theme { colours: true }, width, height);
            for cell in &buffer.content {
                let is_harmless = |c: char| !c.is_control() && !('\u{202A}'..='\u{202E}').contains(&c);
                assert!(cell.symbol().chars().all(is_harmless), "{:?}", cell.symbol());
            }
        }
    }
    assert!(snapshot(&model).all(|line| !line.contains(char::is_control)));
}

#[test]
fn without_colours_there_are_none() {
    let mut model = after("bridge.topics");
    perform(&mut model, "stored sendbridge/state {\"state\":\"offline\"}");
    let colours = |theme| {
        let buffer = drawn(&model, theme, 200, 60);
        buffer.content.iter().filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count()
    };
    assert_eq!(colours(PLAIN), 0);
    assert!(colours(Theme { colours: true }) > 100);
}

#[test]
fn a_hundred_thousand_accounts_are_held_and_shown() {
    let mut model = empty();
    model.connected(model.now);
    for number in 0..100_050_u64 {
        let queued = number * 7_919 % 100_003;
        let report = format!(
            r#"{{"at":"2026-03-02T06:30:00Z","account":"{number}","corp":null,"sender":null,"state":"waiting","queued":{queued},"sending":0,"inDoubt":0,"nextSendAt":null,"drainEta":null,"sentLastHour":0,"intervalMs":500}}"#
        );
        model.hear(&format!("sendbridge/account/{number}"), report.as_bytes(), true, model.now);
    }
    assert_eq!((model.accounts.len(), model.accounts_dropped), (100_000, 50));
    let window = model.accounts_window(30);
    let queued: Vec<u64> = window.rows.iter().map(|report| report.queued).collect();
    assert!(queued.is_sorted_by(|a, b| a >= b) && queued[0] >= 99_950, "{queued:?}");
    press(&mut model, "<PageDown><PageDown><PageDown>");
    let further = model.accounts_window(30);
    assert_eq!(further.selected, 15);
    assert_eq!(further.rows[0].queued, queued[15]);
    let shown = lines(&drawn(&model, PLAIN, 80, 24)).join("\n");
    assert!(shown.contains("! more than 100,000 accounts: the others are not shown"), "{shown}");
    assert!(shown.contains(">> accounts 100,000 by queue"), "{shown}");
}
