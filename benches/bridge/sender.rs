//! A pretend sender: answers every send with success after a settable wait, as cheaply as it can be done.
//!
//! It understands just enough HTTP for the two clients that are measured: requests with a `Content-Length`, one at a
//! time on each connection. Its own cost is part of every measurement, and the same for all.

use crate::ACCOUNTS;
use crate::accuracy::INTERVAL;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream};

/// How many companies the accounts belong to.
pub const CORPS: u32 = 20;

/// Serves until the process is ended. Prints its port first.
pub fn run() {
    crate::run_alone(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("its address").port());
        let desk = Arc::new(Desk {
            wait: Mutex::default(),
            sent: AtomicU64::new(0),
            accounts: account_list(),
            counts: AtomicBool::new(false),
            bursts: Mutex::default(),
            lateness: Mutex::default(),
        });
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let desk = Arc::clone(&desk);
            tokio::spawn(async move {
                // A client that goes away is nothing to report.
                let _ = serve(stream, &desk).await;
            });
        }
    });
}

struct Desk {
    /// The least that a send takes, and how much more it may take, in microseconds.
    wait: Mutex<(u64, u64)>,
    sent: AtomicU64,
    accounts: String,
    /// Whether anybody asked for that.
    counts: AtomicBool,
    /// How often each message of a burst came, by its number.
    bursts: Mutex<BTreeMap<u64, u32>>,
    /// Once anybody asked for that.
    lateness: Mutex<Option<Lateness>>,
}

/// When accounts were answered, and how much later than the interval allows their next messages came.
#[derive(Default)]
struct Lateness {
    answered: BTreeMap<u64, SystemTime>,
    /// When the kernel had them.
    late: Vec<Duration>,
    /// When this program had read them: it shares the cores with all that is measured.
    read_late: Vec<Duration>,
    early: u64,
}

impl Lateness {
    /// The kernel had a message at `arrived`, this program at `read`.
    fn arrived(&mut self, account: u64, arrived: SystemTime, read: SystemTime) {
        let Some(answered) = self.answered.remove(&account) else { return };
        let late = |at: SystemTime| at.duration_since(answered).ok()?.checked_sub(INTERVAL);
        match late(arrived) {
            Some(late) => self.late.push(late),
            None => self.early += 1,
        }
        self.read_late.extend(late(read));
    }

    fn report(&mut self) -> String {
        let (arrived, read) = (percentiles("", &mut self.late), percentiles("read_", &mut self.read_late));
        format!("counted={} early={} {arrived} {read}", self.late.len() as u64 + self.early, self.early)
    }
}

fn percentiles(name: &str, late: &mut [Duration]) -> String {
    late.sort_unstable();
    let at = |thousandth: usize| late.get(late.len() * thousandth / 1000).map_or(0, Duration::as_micros);
    let most = late.last().map_or(0, Duration::as_micros);
    let (p50, p90, p99, p999) = (at(500), at(900), at(990), at(999));
    format!("{name}p50_us={p50} {name}p90_us={p90} {name}p99_us={p99} {name}p999_us={p999} {name}most_us={most}")
}

impl Desk {
    /// Only the messages of a burst are told apart: in the other measurements that would cost, and nobody asks.
    fn note(&self, request: &[u8]) {
        if !self.counts.load(Ordering::Relaxed) {
            return;
        }
        let Some(at) = request.windows(MARK.len()).position(|window| window == MARK) else { return };
        let digits: String = request[at + MARK.len()..].iter().take(32).map(|byte| char::from(*byte)).collect();
        let number = digits.parse().expect("our number");
        *self.bursts.lock().expect("not poisoned").entry(number).or_default() += 1;
    }

    fn times(&self) -> bool {
        self.lateness.lock().expect("not poisoned").is_some()
    }

    /// The account of a request, where anybody wants to know how late it is.
    fn timed(&self, request: &[u8], arrived: Option<SystemTime>) -> Option<u64> {
        let mut lateness = self.lateness.lock().expect("not poisoned");
        let lateness = lateness.as_mut()?;
        let now = SystemTime::now();
        let at = request.windows(ACCOUNT.len()).position(|window| window == ACCOUNT)? + ACCOUNT.len();
        let digits: String =
            request[at..].iter().map(|byte| char::from(*byte)).take_while(char::is_ascii_digit).collect();
        let account = digits.parse().expect("our account");
        // Without a stamp the kernel had it before it was asked to stamp.
        if let Some(arrived) = arrived {
            lateness.arrived(account, arrived, now);
        }
        Some(account)
    }

    /// Counts from now on.
    fn report_lateness(&self) -> String {
        let before = self.lateness.lock().expect("not poisoned").replace(Lateness::default());
        before.unwrap_or_default().report()
    }

    fn ledger(&self) -> String {
        let bursts = self.bursts.lock().expect("not poisoned");
        format!("{} {}", bursts.len(), bursts.values().filter(|times| **times > 1).count())
    }
}

/// Before the number of a message of a burst.
const MARK: &[u8] = b"\"burst\":\"";
/// Before an account.
const ACCOUNT: &[u8] = b"\"wxId\":\"";

/// One connection, and what came over it and was not read yet.
struct Link {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Whether the kernel says of each read when it had the last of it.
    is_stamped: bool,
    arrived: Option<SystemTime>,
}

impl Link {
    /// Reads more. False when nothing more comes.
    async fn read(&mut self, desk: &Desk) -> std::io::Result<bool> {
        if !self.is_stamped && desk.times() {
            setsockopt(&self.stream, sockopt::ReceiveTimestampns, &true)?;
            self.is_stamped = true;
        }
        if !self.is_stamped {
            return Ok(self.stream.read_buf(&mut self.buffer).await? > 0);
        }
        let mut room = [0; 4096];
        let read = || {
            let mut stamp = nix::cmsg_space!(nix::sys::time::TimeSpec);
            let mut parts = [IoSliceMut::new(&mut room)];
            let told = recvmsg::<()>(self.stream.as_raw_fd(), &mut parts, Some(&mut stamp), MsgFlags::MSG_DONTWAIT)?;
            let stamps = told.cmsgs()?.filter_map(|said| {
                let ControlMessageOwned::ScmTimestampns(at) = said else { return None };
                Some(SystemTime::UNIX_EPOCH + Duration::from(at))
            });
            Ok((told.bytes, stamps.last()))
        };
        let (count, arrived) = self.stream.async_io(Interest::READABLE, read).await?;
        self.arrived = arrived;
        self.buffer.extend_from_slice(&room[..count]);
        Ok(count > 0)
    }
}

async fn serve(stream: TcpStream, desk: &Desk) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut link = Link { stream, buffer: Vec::with_capacity(4096), is_stamped: false, arrived: None };
    loop {
        let request = loop {
            if let Some(request) = Head::find(&link.buffer) {
                break request;
            }
            if !link.read(desk).await? {
                return Ok(());
            }
        };
        while link.buffer.len() < request.bytes {
            if !link.read(desk).await? {
                return Ok(());
            }
        }
        let buffer = &mut link.buffer;
        let mut timed = None;
        if matches!(request.target, Target::Send) {
            desk.note(&buffer[..request.bytes]);
            timed = desk.timed(&buffer[..request.bytes], link.arrived);
        }
        buffer.drain(..request.bytes);
        let body = match request.target {
            Target::Accounts => desk.accounts.clone(),
            Target::Wait(wait) => {
                *desk.wait.lock().expect("not poisoned") = wait;
                String::new()
            }
            Target::Ledger => {
                desk.counts.store(true, Ordering::Relaxed);
                desk.ledger()
            }
            Target::Lateness => desk.report_lateness(),
            Target::Send => {
                let number = desk.sent.fetch_add(1, Ordering::Relaxed);
                let (least, more) = *desk.wait.lock().expect("not poisoned");
                if least + more > 0 {
                    // Spread as evenly as the multiples of the golden ratio, and the same in each run.
                    let share = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48;
                    tokio::time::sleep(Duration::from_micros(least + ((more * share) >> 16))).await;
                }
                format!(r#"{{"code":0,"msg":"","data":{{"msgId":"7B8D35DA-{number:012}"}}}}"#)
            }
        };
        let length = body.len();
        // Node.js and Apache announce so much by default.
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nkeep-alive: timeout=5\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        // The clock of the limit starts when the answer leaves, and not when it has left.
        if let (Some(account), Some(lateness)) = (timed, desk.lateness.lock().expect("not poisoned").as_mut()) {
            lateness.answered.insert(account, SystemTime::now());
        }
        link.stream.write_all(answer.as_bytes()).await?;
    }
}

enum Target {
    Send,
    Accounts,
    /// From now on each send takes the first, and up to the second more, in microseconds.
    Wait((u64, u64)),
    /// How many messages came, and how many of them more than once.
    Ledger,
    /// How late messages were since the last time.
    Lateness,
}

struct Head {
    target: Target,
    /// Of head and body together.
    bytes: usize,
}

impl Head {
    fn find(buffer: &[u8]) -> Option<Self> {
        let end = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&buffer[..end]).expect("our clients speak ASCII");
        let path = head.split(' ').nth(1).unwrap_or_default();
        let body_bytes = head.lines().find_map(content_length).unwrap_or(0);
        let target = if let Some((least, more)) = path.strip_prefix("/wait/").and_then(|wait| wait.split_once('+')) {
            let micros = |text: &str| text.parse().expect("microseconds");
            Target::Wait((micros(least), micros(more)))
        } else if path == "/ledger" {
            Target::Ledger
        } else if path == "/lateness" {
            Target::Lateness
        } else if path.contains("/wx/list") {
            Target::Accounts
        } else {
            Target::Send
        };
        Some(Self { target, bytes: end + body_bytes })
    }
}

fn content_length(line: &str) -> Option<usize> {
    let (name, value) = line.split_once(':')?;
    if name.eq_ignore_ascii_case("content-length") { value.trim().parse().ok() } else { None }
}

/// The company with a number.
pub fn corp(number: u32) -> u64 {
    1_970_325_057_080_000 + u64::from(number)
}

fn account_list() -> String {
    let entry = |number: u32| {
        let (account, corp) = (crate::account(number), corp(number % CORPS));
        format!(r#"{{"wxId":"{account}","corp_id":"{corp}","Status":0}}"#)
    };
    let entries: Vec<String> = (0..ACCOUNTS).map(entry).collect();
    format!(r#"{{"code":0,"msg":"","data":[{}]}}"#, entries.join(","))
}
