//! Random values of every type that a record holds.

use crate::model::{
    Account, Block, Callback, Code, CommandOrigin, Corp, Doubt, Fault, HoldId, Lifetime, LimitScope, Message,
    MessageId, NotSent, OnDoubt, Options, Origin, Outcome, Receipt, Refusal, ReplyTo, Request, Retry, Scope, Seen,
    Selection, Sender, SenderName, Seq, Signal, State, Time, Verdict,
};
use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::select;
use std::sync::Arc;
use std::time::Duration;

/// Any text at all: what a stranger may choose reaches the file as it came.
pub(super) fn text() -> impl Strategy<Value = Box<str>> {
    prop_oneof![
        Just(Box::from("")),
        Just(Box::from("\0 nul, 你好 🎉, \u{202e}rtl, '); DROP TABLE message; --\n\u{7f}")),
        "[a-zA-Z0-9:_-]{1,20}".prop_map(String::into_boxed_str),
        proptest::collection::vec(any::<char>(), 0..12).prop_map(|chars| chars.into_iter().collect()),
    ]
}

pub(super) fn maybe_text() -> impl Strategy<Value = Option<Box<str>>> {
    proptest::option::of(text())
}

fn time() -> impl Strategy<Value = Time> {
    prop_oneof![Just(Time::MAX), Just(Time::default()), (0..4_000_000_000_000_000_000_u64).prop_map(Time::from_nanos)]
}

pub(super) fn maybe_time() -> impl Strategy<Value = Option<Time>> {
    proptest::option::of(time())
}

fn span() -> impl Strategy<Value = Duration> {
    (0..9_000_000_000_000_000_000_u64).prop_map(Duration::from_nanos)
}

pub(super) fn account() -> impl Strategy<Value = Account> {
    prop_oneof![4 => "account-[0-9]", 1 => text().prop_map(String::from)].prop_map(|name| Account::new(&name))
}

pub(super) fn corp() -> impl Strategy<Value = Corp> {
    prop_oneof![4 => "corp-[0-3]", 1 => text().prop_map(String::from)].prop_map(|name| Corp::new(&name))
}

pub(super) fn sender_name() -> impl Strategy<Value = SenderName> {
    text().prop_map(|name| SenderName::new(&name))
}

fn message_id() -> impl Strategy<Value = MessageId> {
    prop_oneof![
        any::<u64>().prop_map(|number| MessageId::from_json(&number.to_string())),
        text().prop_map(|text| MessageId::from_json(&serde_json::Value::from(String::from(text)).to_string())),
    ]
}

pub(super) fn reply_to() -> impl Strategy<Value = Option<ReplyTo>> {
    let correlation = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9).prop_map(Bytes::from));
    proptest::option::of((text(), correlation).prop_map(|(topic, correlation)| ReplyTo { topic, correlation }))
}

fn origin() -> impl Strategy<Value = Origin> {
    (maybe_text(), reply_to(), any::<bool>()).prop_map(|(suffix, reply_to, weak)| Origin { suffix, reply_to, weak })
}

fn on_doubt() -> impl Strategy<Value = OnDoubt> {
    select(vec![OnDoubt::Report, OnDoubt::Resend, OnDoubt::Hold])
}

fn options() -> impl Strategy<Value = Options> {
    let lifetime = prop_oneof![span().prop_map(Lifetime::For), time().prop_map(Lifetime::Until)];
    (
        proptest::option::of(0..10_u8),
        proptest::option::of(time()),
        proptest::option::of(lifetime),
        proptest::option::of(on_doubt()),
        maybe_text(),
    )
        .prop_map(|(priority, not_before, lifetime, on_doubt, tag)| Options {
            message_expiry: None,
            priority,
            not_before,
            lifetime,
            on_doubt,
            tag,
        })
}

fn request() -> impl Strategy<Value = Request> {
    let names = (message_id(), text(), account(), text());
    let rest = (
        origin(),
        options(),
        any::<[u8; 16]>(),
        any::<Option<[u8; 16]>>(),
        proptest::collection::vec(any::<u8>(), 0..40),
    );
    (names, rest).prop_map(|((id, kind, account, conversation), (origin, options, fingerprint, shown, body))| Request {
        id,
        kind: Arc::from(kind),
        account,
        conversation,
        origin,
        options,
        fingerprint,
        shown,
        body: Bytes::from(body),
    })
}

/// A message whose number and arrival are the caller's.
pub(super) fn message() -> impl Strategy<Value = Message> {
    (request(), time(), proptest::option::of(time()), 0..10_u8, on_doubt(), proptest::option::of(retry())).prop_map(
        |(request, expires_at, not_before, priority, on_doubt, retry)| Message {
            seq: Seq::default(),
            received_at: Time::default(),
            expires_at,
            not_before,
            priority,
            on_doubt,
            body_bytes: u32::try_from(request.body.len()).expect("a short body"),
            request,
            retry,
        },
    )
}

fn retry() -> impl Strategy<Value = Retry> {
    (0..1_000_000_u64, any::<bool>(), any::<bool>()).prop_map(|(of, possibly_duplicate, in_doubt)| Retry {
        of: Seq(of),
        possibly_duplicate,
        in_doubt,
    })
}

fn sender() -> impl Strategy<Value = Sender> {
    (any::<u16>(), any::<Option<i64>>(), text()).prop_map(|(http, code, msg)| Sender { http, code, msg })
}

pub(super) fn verdict() -> impl Strategy<Value = Verdict> {
    let retry_after = || proptest::option::of(span());
    let not_sent = prop_oneof![
        select(vec![NotSent::Connect, NotSent::Offline, NotSent::Unauthorized, NotSent::Expired]),
        retry_after().prop_map(|retry_after| NotSent::Busy { retry_after }),
        retry_after().prop_map(|retry_after| NotSent::TooFrequent { retry_after }),
        retry_after().prop_map(|retry_after| NotSent::Temporary { retry_after }),
    ];
    let doubt = prop_oneof![
        select(vec![Doubt::Timeout, Doubt::Reset, Doubt::Unreadable, Doubt::Crash]),
        any::<u16>().prop_map(Doubt::Status),
        any::<i64>().prop_map(Doubt::Code),
    ];
    prop_oneof![
        maybe_text().prop_map(|msg_id| Verdict::Confirmed { msg_id }),
        sender().prop_map(|sender| Verdict::Refused { sender }),
        (not_sent, text()).prop_map(|(why, detail)| Verdict::NotSent { why, detail }),
        (doubt, text()).prop_map(|(why, detail)| Verdict::Unknown { why, detail }),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    (select(Code::ALL.to_vec()), text(), maybe_text(), proptest::option::of(sender()))
        .prop_map(|(code, message, field, sender)| Fault { code, message, field, sender })
}

/// An outcome whose time is the caller's.
pub(super) fn outcome() -> impl Strategy<Value = Outcome> {
    let states = State::ALL.into_iter().filter(|state| state.is_final()).collect::<Vec<_>>();
    (select(states), maybe_text(), proptest::option::of(fault()), any::<u32>(), any::<bool>()).prop_map(
        |(state, msg_id, fault, attempts, possibly_duplicate)| Outcome {
            state,
            at: Time::default(),
            msg_id,
            fault,
            attempts,
            possibly_duplicate,
        },
    )
}

pub(super) fn refusal() -> impl Strategy<Value = Refusal> {
    (proptest::option::of(message_id()), proptest::option::of(account()), origin(), fault())
        .prop_map(|(id, account, origin, fault)| Refusal { id, account, origin, fault })
}

pub(super) fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        Just(Scope::All),
        sender_name().prop_map(Scope::Sender),
        corp().prop_map(Scope::Corp),
        account().prop_map(Scope::Account),
        (account(), text()).prop_map(|(account, conversation)| Scope::Conversation(account, conversation)),
    ]
}

/// Scope, reason, who asked, until when.
pub(super) fn hold() -> impl Strategy<Value = (Scope, Box<str>, Option<Box<str>>, Option<Time>)> {
    (scope(), text(), maybe_text(), proptest::option::of(time()))
}

/// A block whose number is the caller's.
pub(super) fn block() -> impl Strategy<Value = Block> {
    let selection = (
        proptest::option::of(message_id()),
        proptest::option::of(account()),
        maybe_text(),
        proptest::option::of(corp()),
        maybe_text(),
    );
    (selection, maybe_text(), maybe_text(), time(), time()).prop_map(
        |((id, account, conversation, corp, tag), reason, by, since, until)| Block {
            id: HoldId(0),
            selection: Selection { id, account, conversation, corp, tag },
            reason,
            by,
            since,
            until,
        },
    )
}

pub(super) fn limit_scope() -> impl Strategy<Value = LimitScope> {
    prop_oneof![account().prop_map(LimitScope::Account), corp().prop_map(LimitScope::Corp)]
}

pub(super) fn command_origin() -> impl Strategy<Value = CommandOrigin> {
    (text(), reply_to(), maybe_text(), maybe_text()).prop_map(|(name, reply_to, transaction, by)| CommandOrigin {
        name,
        reply_to,
        transaction,
        by,
    })
}

/// A receipt whose time is the caller's.
pub(super) fn receipt() -> impl Strategy<Value = Receipt> {
    (select(vec![State::Delivered, State::Undelivered]), any::<i64>(), maybe_text())
        .prop_map(|(state, error, text)| Receipt { state, at: Time::default(), error, text })
}

fn seen() -> impl Strategy<Value = Seen> {
    let texts = (maybe_text(), maybe_text(), maybe_text());
    let rest = (any::<bool>(), any::<Option<[u8; 16]>>(), any::<i64>(), 0..4_000_000_000_000_u64);
    (account(), texts, rest).prop_map(
        |(account, (conversation, send_msg_id, error_text), (by_api, shown, error, millis))| Seen {
            account,
            conversation,
            send_msg_id,
            by_api,
            shown,
            error,
            error_text,
            at: Time::from_millis(millis),
        },
    )
}

/// A callback with up to two events, which only their publication looks at.
pub(super) fn callback() -> impl Strategy<Value = Callback> {
    let signal = prop_oneof![
        seen().prop_map(Signal::Seen),
        (account(), proptest::option::of(corp())).prop_map(|(account, corp)| Signal::Online { account, corp }),
        account().prop_map(|account| Signal::Offline { account }),
    ];
    let signals = proptest::collection::vec(signal, 0..3);
    (proptest::option::of(sender_name()), any::<[u8; 16]>(), 0..3_usize, signals).prop_map(
        |(sender, key, events, signals)| Callback { sender, key, events: vec![super::event(); events], signals },
    )
}
