//! Everything that decides what may happen next, small enough to keep millions of: the disk, the process, the network,
//! the sender and what the publisher has been told.

/// Requests of one message that may have had an effect, over both of its lives.
pub const SLOTS: usize = 3;
/// Copies of the message that its publisher sends.
pub const COPIES: usize = 2;

/// Where a message is. What is behind [`Phase::Sent`] is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Absent,
    Queued,
    /// Queued because its publisher wants it sent again after a doubt. Only in memory: the disk says in doubt until the
    /// attempt, which brings the flag.
    Again,
    Sending,
    InDoubt,
    /// In doubt until somebody settles it. Only in memory: the disk says in doubt.
    Held,
    Sent,
    Failed,
    Unresolved,
    Expired,
    Cancelled,
}

impl Phase {
    pub const ALL: [Self; 11] = [
        Self::Absent,
        Self::Queued,
        Self::Again,
        Self::Sending,
        Self::InDoubt,
        Self::Held,
        Self::Sent,
        Self::Failed,
        Self::Unresolved,
        Self::Expired,
        Self::Cancelled,
    ];

    pub fn is_final(self) -> bool {
        self >= Self::Sent
    }

    pub fn is_live(self) -> bool {
        !self.is_final() && self != Self::Absent
    }

    /// Says that nothing was sent and nothing will be.
    pub fn denies(self) -> bool {
        matches!(self, Self::Failed | Self::Expired | Self::Cancelled)
    }
}

/// What is known of the message: once on disk, once in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    pub phase: Phase,
    pub flag: bool,
    /// Attempts of this life whose effect nobody knows.
    pub doubts: u8,
    /// Whether nobody knows if the life before was sent.
    pub inherited: bool,
    /// Whether its answer has yet to reach the broker.
    pub due: bool,
    /// How the life before ended, if a person had it sent again.
    pub earlier: Phase,
    pub earlier_flag: bool,
    pub earlier_due: bool,
    /// Slots of the life before, and of both lives. An attempt that provably did nothing gives its slot back.
    pub first: u8,
    pub attempts: u8,
    /// By slot: ended, and nobody knows how.
    pub unclear: u8,
    /// By slot: a callback showed its effect.
    pub seen: u8,
}

impl View {
    pub const NOTHING: Self = Self {
        phase: Phase::Absent,
        flag: false,
        doubts: 0,
        inherited: false,
        due: false,
        earlier: Phase::Absent,
        earlier_flag: false,
        earlier_due: false,
        first: 0,
        attempts: 0,
        unclear: 0,
        seen: 0,
    };

    pub fn is_doubtful(&self) -> bool {
        self.doubts > 0 || self.inherited
    }

    /// What is said about duplicates: the decision to send again counts at once, its record comes with the attempt.
    pub fn flagged(&self) -> bool {
        self.flag || self.phase == Phase::Again
    }

    /// What a commit makes of it.
    pub fn durable(mut self) -> Self {
        if matches!(self.phase, Phase::Again | Phase::Held) {
            self.phase = Phase::InDoubt;
        }
        self
    }

    /// The slot of the attempt under way.
    pub fn open_slot(&self) -> Option<usize> {
        (self.phase == Phase::Sending).then(|| usize::from(self.attempts) - 1)
    }
}

/// Whether a doubt has waited long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    Open,
    Over,
    /// The message's lifetime was over before.
    OverTooLate,
}

/// How far an attempt is in the process that makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flight {
    None,
    Decided,
    /// Its record is durable: it may leave.
    Released,
    Made,
}

/// How far an answer is in the process that publishes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publish {
    Idle,
    Outstanding,
    /// Asked for once more: the next acknowledgement is of the copy before.
    OutstandingAgain,
}

/// What is between the process and the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    None,
    /// An answer that says this, and whether it is flagged.
    Answer(Phase, bool),
    /// The broker has it, its acknowledgement is under way.
    Acknowledgement,
}

/// A request as the sender knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Never made, or it never will have an effect.
    None,
    InAir,
    /// It worked, and a callback is under way.
    Worked,
    /// It worked, and no callback will come.
    Silent,
    /// It worked, and the system that reported it was told that the report is kept.
    Taken,
}

impl Slot {
    pub fn has_effect(self) -> bool {
        match self {
            Self::Worked | Self::Silent | Self::Taken => true,
            Self::None | Self::InAir => false,
        }
    }
}

/// What the sender answers to the request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    None,
    Confirmed,
    Refused,
    NotSent,
}

/// A copy of the message between its publisher and the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Copy {
    /// Not published yet, or acknowledged.
    None,
    /// With the broker.
    Waiting,
    /// Decided about, not durable.
    Handled,
    /// Durable: may be acknowledged.
    Released,
}

/// One life of a message as its publisher hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    pub publish: Publish,
    pub wire: Wire,
    /// The last answer that the broker has: what it says, and whether it is flagged. [`Phase::Absent`] for none.
    pub told: Phase,
    pub told_flag: bool,
}

impl Line {
    pub const NOTHING: Self = Self { publish: Publish::Idle, wire: Wire::None, told: Phase::Absent, told_flag: false };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub disk: View,
    pub memory: View,
    pub up: bool,
    pub flight: Flight,
    /// Of this life and of the one before.
    pub lines: [Line; 2],
    pub copies: [Copy; COPIES],
    pub slots: [Slot; SLOTS],
    pub reply: Reply,
    /// Whether the message's lifetime is over.
    pub over: bool,
    pub window: Window,
    /// The broker was told that a copy is taken.
    pub acknowledged: bool,
    /// A copy was looked at, and no answer has reached the broker since.
    pub owed: bool,
    /// Somebody was told that it may be a duplicate.
    pub said_flag: bool,
    /// How often the process or a connection may still break off, or a copy be published once more; and what operators
    /// may still order.
    pub troubles: u8,
    pub orders: u8,
}

impl State {
    /// One copy is with the broker, nothing has happened.
    pub fn first(troubles: u8, orders: u8) -> Self {
        let mut copies = [Copy::None; COPIES];
        copies[COPIES - 1] = Copy::Waiting;
        Self {
            disk: View::NOTHING,
            memory: View::NOTHING,
            up: true,
            flight: Flight::None,
            lines: [Line::NOTHING; 2],
            copies,
            slots: [Slot::None; SLOTS],
            reply: Reply::None,
            over: false,
            window: Window::Open,
            acknowledged: false,
            owed: false,
            said_flag: false,
            troubles,
            orders,
        }
    }

    /// Makes one state of those between which no step could tell.
    pub fn tidy(&mut self) {
        self.copies.sort_unstable();
        if self.memory.durable().phase != Phase::InDoubt && self.disk.phase != Phase::InDoubt {
            self.window = Window::Open;
        }
    }

    pub fn effects(&self) -> usize {
        self.slots.iter().filter(|slot| slot.has_effect()).count()
    }

    pub fn effects_of_earlier(&self) -> usize {
        self.slots[..usize::from(self.memory.first)].iter().filter(|slot| slot.has_effect()).count()
    }

    /// A request has worked or still may.
    pub fn is_risky(&self) -> bool {
        self.slots.iter().any(|slot| *slot != Slot::None)
    }

    /// The slot of the request that the process waits for.
    pub fn current_slot(&self) -> Option<usize> {
        self.memory.open_slot().filter(|_| self.up && self.flight == Flight::Made)
    }

    /// Memory and what is decided but not durable, as a new process finds them.
    pub fn forget_process(&mut self) {
        if self.memory.earlier != Phase::Absent && self.disk.earlier == Phase::Absent {
            // The new life never came about, so what was told of the old one is still told of the newest.
            self.lines = [self.lines[1], Line::NOTHING];
        }
        self.memory = self.disk;
        self.flight = Flight::None;
        self.reply = Reply::None;
        for line in &mut self.lines {
            line.publish = Publish::Idle;
            line.wire = Wire::None;
        }
    }

    /// What was delivered and not acknowledged comes again.
    pub fn return_copies(&mut self) {
        for copy in &mut self.copies {
            if *copy > Copy::Waiting {
                *copy = Copy::Waiting;
            }
        }
    }
}
