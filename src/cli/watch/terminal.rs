//! The terminal: taken when the view begins, given back however it ends.

use super::model::Key;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{
    self, DisableBracketedPaste, EnableBracketedPaste, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers,
};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// Keys that wait: more than anybody types while a screen is drawn.
const KEYS_MAX: usize = 256;
/// How often the thread that reads keys looks whether it is still wanted.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Whether the terminal is ours, for whoever has to give it back.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Something came from the terminal.
#[derive(Debug)]
pub(super) enum FromTerminal {
    Key(Key),
    Resized,
    /// Nothing will come any more.
    Gone,
}

/// The terminal in the state that a view needs: raw, on its second screen. Dropping this gives it back.
pub(super) struct Taken;

impl Taken {
    /// # Errors
    /// When the terminal cannot be set; it is given back then.
    pub(super) fn take() -> io::Result<Self> {
        give_back_on_panic();
        IS_TAKEN.store(true, Ordering::SeqCst);
        // From here on whatever fails is undone by the drop.
        let taken = Self;
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste, Hide)?;
        Ok(taken)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back, once. What fails is a terminal that is gone.
fn give_back() {
    if IS_TAKEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(io::stdout(), DisableBracketedPaste, LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
        let _ = io::stdout().flush();
    }
}

/// The process ends on a panic without a single drop, so the terminal goes back before the panic is told.
fn give_back_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        give_back();
        before(panic);
    }));
}

/// Reads keys on a thread of its own, because reading waits; it ends with the receiver.
///
/// # Errors
/// When there is no thread to be had.
pub(super) fn read_keys() -> io::Result<mpsc::Receiver<FromTerminal>> {
    let (keys, keys_read) = mpsc::channel(KEYS_MAX);
    std::thread::Builder::new().name("keys".to_owned()).spawn(move || {
        while !keys.is_closed() {
            let read = match event::poll(LOOK_INTERVAL) {
                Ok(false) => continue,
                Ok(true) => event::read(),
                Err(error) => Err(error),
            };
            let from_terminal = match read {
                Ok(event) => translated(event),
                Err(_) => Some(FromTerminal::Gone),
            };
            let Some(from_terminal) = from_terminal else { continue };
            let is_last = matches!(from_terminal, FromTerminal::Gone);
            if keys.blocking_send(from_terminal).is_err() || is_last {
                return;
            }
        }
    })?;
    Ok(keys_read)
}

fn translated(event: Event) -> Option<FromTerminal> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => key_of(key).map(FromTerminal::Key),
        Event::Paste(text) => Some(FromTerminal::Key(Key::Paste(text))),
        Event::Resize(..) | Event::FocusGained => Some(FromTerminal::Resized),
        Event::Key(_) | Event::FocusLost | Event::Mouse(_) => None,
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "a keyboard has more keys than this program has uses for")]
fn key_of(key: KeyEvent) -> Option<Key> {
    if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) {
        return (key.code == KeyCode::Char('c') && key.modifiers == KeyModifiers::CONTROL).then_some(Key::Interrupt);
    }
    Some(match key.code {
        KeyCode::Char(character) => Key::Char(character),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        _ => return None,
    })
}
