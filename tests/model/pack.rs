//! A state as a number: what the exploration keeps and compares.

use super::state::{Copy, Flight, Line, Phase, Publish, Reply, Slot, State, View, Window, Wire};

const FLIGHTS: [Flight; 4] = [Flight::None, Flight::Decided, Flight::Released, Flight::Made];
const PUBLISHES: [Publish; 3] = [Publish::Idle, Publish::Outstanding, Publish::OutstandingAgain];
const SLOT_STATES: [Slot; 5] = [Slot::None, Slot::InAir, Slot::Worked, Slot::Silent, Slot::Taken];
const WINDOWS: [Window; 3] = [Window::Open, Window::Over, Window::OverTooLate];
const REPLIES: [Reply; 4] = [Reply::None, Reply::Confirmed, Reply::Refused, Reply::NotSent];
const COPY_STATES: [Copy; 4] = [Copy::None, Copy::Waiting, Copy::Handled, Copy::Released];

struct Writer {
    bits: u128,
    len: u32,
}

impl Writer {
    fn number(&mut self, value: u8, width: u32) {
        debug_assert!(u32::from(value) < 1 << width, "{value} does not fit into {width} bits");
        self.bits |= u128::from(value) << self.len;
        self.len += width;
    }

    fn flag(&mut self, value: bool) {
        self.number(u8::from(value), 1);
    }

    fn view(&mut self, view: &View) {
        self.number(view.phase as u8, 4);
        self.number(view.earlier as u8, 4);
        self.number(view.doubts, 2);
        self.number(view.first, 2);
        self.number(view.attempts, 2);
        self.number(view.unclear, 3);
        self.number(view.seen, 3);
        for flag in [view.flag, view.inherited, view.due, view.earlier_flag, view.earlier_due] {
            self.flag(flag);
        }
    }

    fn line(&mut self, line: &Line) {
        self.number(line.publish as u8, 2);
        let (wire, flag) = match line.wire {
            Wire::None => (0, false),
            Wire::Answer(phase, flag) => (phase as u8, flag),
            Wire::Acknowledgement => (15, false),
        };
        self.number(wire, 4);
        self.flag(flag);
        self.number(line.told as u8, 4);
        self.flag(line.told_flag);
    }
}

struct Reader {
    bits: u128,
}

impl Reader {
    fn number(&mut self, width: u32) -> u8 {
        let value = (self.bits & ((1 << width) - 1)) as u8;
        self.bits >>= width;
        value
    }

    fn flag(&mut self) -> bool {
        self.number(1) == 1
    }

    fn one_of<T: std::marker::Copy>(&mut self, all: &[T], width: u32) -> T {
        all[usize::from(self.number(width))]
    }

    fn view(&mut self) -> View {
        View {
            phase: self.one_of(&Phase::ALL, 4),
            earlier: self.one_of(&Phase::ALL, 4),
            doubts: self.number(2),
            first: self.number(2),
            attempts: self.number(2),
            unclear: self.number(3),
            seen: self.number(3),
            flag: self.flag(),
            inherited: self.flag(),
            due: self.flag(),
            earlier_flag: self.flag(),
            earlier_due: self.flag(),
        }
    }

    fn line(&mut self) -> Line {
        let publish = self.one_of(&PUBLISHES, 2);
        let (wire, flag) = (self.number(4), self.flag());
        let wire = match wire {
            0 => Wire::None,
            15 => Wire::Acknowledgement,
            phase => Wire::Answer(Phase::ALL[usize::from(phase)], flag),
        };
        Line { publish, wire, told: self.one_of(&Phase::ALL, 4), told_flag: self.flag() }
    }
}

impl State {
    pub fn pack(&self) -> u128 {
        let mut to = Writer { bits: 0, len: 0 };
        to.view(&self.disk);
        to.view(&self.memory);
        to.number(self.flight as u8, 2);
        self.lines.iter().for_each(|line| to.line(line));
        self.copies.iter().for_each(|copy| to.number(*copy as u8, 2));
        self.slots.iter().for_each(|slot| to.number(*slot as u8, 3));
        to.number(self.reply as u8, 2);
        to.number(self.window as u8, 2);
        for flag in [self.up, self.over, self.acknowledged, self.owed, self.said_flag] {
            to.flag(flag);
        }
        for budget in [self.troubles, self.orders] {
            to.number(budget, 2);
        }
        debug_assert!(to.len < 128);
        to.bits
    }

    pub fn unpack(bits: u128) -> Self {
        let mut from = Reader { bits };
        Self {
            disk: from.view(),
            memory: from.view(),
            flight: from.one_of(&FLIGHTS, 2),
            lines: std::array::from_fn(|_| from.line()),
            copies: std::array::from_fn(|_| from.one_of(&COPY_STATES, 2)),
            slots: std::array::from_fn(|_| from.one_of(&SLOT_STATES, 3)),
            reply: from.one_of(&REPLIES, 2),
            window: from.one_of(&WINDOWS, 2),
            up: from.flag(),
            over: from.flag(),
            acknowledged: from.flag(),
            owed: from.flag(),
            said_flag: from.flag(),
            troubles: from.number(2),
            orders: from.number(2),
        }
    }
}
