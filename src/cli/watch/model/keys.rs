//! What each key does.

use super::ask::{Asking, Effect, Target};
use super::payload::Hold;
use super::{Model, Notice, Pane};

/// Characters that a line takes.
const LINE_CHARS_MAX: usize = 200;
/// Rows that a page key moves by.
const PAGE: isize = 10;

/// A key, or a text that was pasted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    Char(char),
    Paste(String),
    Enter,
    Escape,
    Backspace,
    Tab,
    BackTab,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    /// Ctrl-C: the terminal hands it over as a key.
    Interrupt,
}

impl Model {
    /// A key was pressed. Only `p`, `r` and `c` lead to anything that leaves this process.
    pub fn press(&mut self, key: &Key) -> Option<Effect> {
        if *key == Key::Interrupt {
            return Some(Effect::Quit);
        }
        if let Some(asking) = self.asking.take() {
            return self.fill_in(asking, key);
        }
        self.notice = None;
        if self.help {
            self.help = false;
            return (*key == Key::Char('q')).then_some(Effect::Quit);
        }
        if self.details.is_some() && self.press_in_details(key) {
            return None;
        }
        match key {
            Key::Char('q') => return Some(Effect::Quit),
            Key::Char('?' | 'h') => self.help = true,
            Key::Char('s') => self.sort = self.sort.next(),
            Key::Char('/') => self.asking = Some(Asking::Filter { text: self.filter.clone() }),
            Key::Char(' ') => self.freeze(),
            Key::Char('p') => self.ask_to_pause(),
            Key::Char('r') => self.ask_to_resume(),
            Key::Char('c') | Key::Enter => return self.target().and_then(|target| self.fetch_details(&target)),
            Key::Tab | Key::Right => self.move_focus(1),
            Key::BackTab | Key::Left => self.move_focus(Pane::ALL.len() - 1),
            Key::Up | Key::Char('k') => self.move_rows(-1),
            Key::Down | Key::Char('j') => self.move_rows(1),
            Key::PageUp => self.move_rows(-PAGE),
            Key::PageDown => self.move_rows(PAGE),
            Key::Home => self.move_rows(isize::MIN),
            Key::End => self.move_rows(isize::MAX),
            Key::Escape => self.filter.clear(),
            // Pasted into no line: none of it is a key that somebody meant to press.
            Key::Paste(_) | Key::Char(_) | Key::Backspace | Key::Interrupt => {}
        }
        None
    }

    /// Whether the key was for the details; any other closes them and does what it does.
    fn press_in_details(&mut self, key: &Key) -> bool {
        let Some(details) = self.details.as_mut() else { return false };
        let last = details.lines.as_ref().map_or(0, |lines| lines.len().saturating_sub(1));
        match key {
            Key::Up | Key::Char('k') => details.scroll = details.scroll.saturating_sub(1),
            Key::Down | Key::Char('j') => details.scroll = (details.scroll + 1).min(last),
            Key::Escape | Key::Enter | Key::Char('c') => self.details = None,
            Key::Char(_)
            | Key::Paste(_)
            | Key::Backspace
            | Key::Tab
            | Key::BackTab
            | Key::Left
            | Key::Right
            | Key::PageUp
            | Key::PageDown
            | Key::Home
            | Key::End
            | Key::Interrupt => {
                self.details = None;
                return false;
            }
        }
        true
    }

    fn fill_in(&mut self, mut asking: Asking, key: &Key) -> Option<Effect> {
        match key {
            Key::Escape => {
                self.notice = None;
                return None;
            }
            Key::Enter => return self.enter(asking),
            Key::Char('y') if matches!(asking, Asking::Resume { .. }) => return self.enter(asking),
            Key::Char('n' | 'q') if matches!(asking, Asking::Resume { .. }) => return None,
            Key::Char(_)
            | Key::Paste(_)
            | Key::Backspace
            | Key::Tab
            | Key::BackTab
            | Key::Up
            | Key::Down
            | Key::Left
            | Key::Right
            | Key::PageUp
            | Key::PageDown
            | Key::Home
            | Key::End
            | Key::Interrupt => {}
        }
        match &mut asking {
            Asking::Filter { text } => {
                type_into(text, key);
                self.filter = text.to_lowercase();
            }
            Asking::Reason { text, .. } | Asking::Duration { text, .. } => type_into(text, key),
            Asking::Resume { .. } => {}
        }
        self.asking = Some(asking);
        None
    }

    /// What Enter does in a line.
    fn enter(&mut self, asking: Asking) -> Option<Effect> {
        match asking {
            Asking::Filter { text } => {
                self.filter = text.trim().to_lowercase();
                None
            }
            Asking::Reason { target, text } => {
                let reason = text.trim().to_owned();
                if reason.is_empty() {
                    let text = "a pause needs a reason, for those who find the queue standing".to_owned();
                    self.notice = Some(Notice { text, is_bad: true });
                    self.asking = Some(Asking::Reason { target, text: String::new() });
                    return None;
                }
                self.notice = None;
                self.asking = Some(Asking::Duration { target, reason, text: String::new() });
                None
            }
            Asking::Duration { target, reason, text } => self.pause(&target, &reason, text.trim()),
            Asking::Resume { target } => self.resume(&target),
        }
    }

    fn move_focus(&mut self, by: usize) {
        self.focus = Pane::ALL[(self.focus.index() + by) % Pane::ALL.len()];
    }

    fn move_rows(&mut self, by: isize) {
        let rows = match self.focus {
            Pane::Companies => return self.move_corp(by),
            Pane::Accounts => return self.move_account(by),
            Pane::Holds => self.holds().count(),
            Pane::Alarms => self.alarms.len(),
            Pane::Events => self.tail().count(),
        };
        let at = self.scroll(self.focus, rows);
        self.scroll[self.focus.index()] = at.saturating_add_signed(by).min(rows.saturating_sub(1));
    }

    fn freeze(&mut self) {
        self.frozen = match self.frozen.take() {
            Some(_) => None,
            None => Some((self.tail.clone(), self.events_heard)),
        };
    }

    /// What the cursor is on, where that is something that a command can be about.
    fn target(&mut self) -> Option<Target> {
        let target = match self.focus {
            Pane::Companies => self.corp_at_cursor().map(|report| Target::Corp(report.corp.as_str().to_owned())),
            Pane::Accounts => {
                self.account_at_cursor().map(|report| Target::Account(report.account.as_str().to_owned()))
            }
            Pane::Holds | Pane::Alarms | Pane::Events => None,
        };
        if target.is_none() {
            let text = "go to an account or a company first, with Tab and the arrows".to_owned();
            self.notice = Some(Notice { text, is_bad: true });
        }
        target
    }

    fn ask_to_pause(&mut self) {
        if let Some(target) = self.target() {
            self.asking = Some(Asking::Reason { target, text: String::new() });
        }
    }

    fn ask_to_resume(&mut self) {
        if self.focus == Pane::Holds {
            let at = self.scroll(Pane::Holds, self.holds().count());
            let number = self.holds().nth(at).map(|(hold, _)| hold.id);
            match number {
                Some(hold) => self.asking = Some(Asking::Resume { target: Target::Hold(hold) }),
                None => self.notice = Some(Notice { text: "there is no hold".to_owned(), is_bad: true }),
            }
            return;
        }
        let Some(target) = self.target() else { return };
        match self.wider_hold(&target) {
            None => self.asking = Some(Asking::Resume { target }),
            Some((hold, subject)) => {
                let text = format!("hold {hold} is about {subject}: resume it among the holds");
                self.notice = Some(Notice { text, is_bad: true });
            }
        }
    }

    /// The hold that keeps an account or a company standing and is not about exactly that one.
    fn wider_hold(&self, target: &Target) -> Option<(u64, String)> {
        let (number, name, value) = match target {
            Target::Account(account) => {
                let report = self.accounts.values().find(|report| report.account.as_str() == account)?;
                (report.hold?, "account", account)
            }
            Target::Corp(corp) => {
                let report = self.corps.values().find(|report| report.corp.as_str() == corp)?;
                (report.hold?, "corp", corp)
            }
            Target::Hold(_) => return None,
        };
        let is_own = |hold: &Hold| hold.covers_exactly(name, value);
        // Where one of its own stands, too, that one is meant.
        if self.holds().any(|(hold, is_block)| !is_block && is_own(hold)) {
            return None;
        }
        let (hold, _) = self.holds().find(|(hold, is_block)| !is_block && hold.id == number)?;
        Some((number, hold.subject()))
    }
}

fn type_into(text: &mut String, key: &Key) {
    match key {
        Key::Backspace => drop(text.pop()),
        Key::Char(character) => push(text, *character),
        Key::Paste(pasted) => pasted.chars().for_each(|character| push(text, character)),
        Key::Enter
        | Key::Escape
        | Key::Tab
        | Key::BackTab
        | Key::Up
        | Key::Down
        | Key::Left
        | Key::Right
        | Key::PageUp
        | Key::PageDown
        | Key::Home
        | Key::End
        | Key::Interrupt => {}
    }
}

fn push(text: &mut String, character: char) {
    if !character.is_control() && text.chars().count() < LINE_CHARS_MAX {
        text.push(character);
    }
}
