//! The engine's settings: the defaults of the configuration, but for what the caller says.

use sendbridge::engine::{
    AccountLimits, AccountSettings, BrokerLimits, CallSettings, CorpLimits, EventLevel, IdConflict, LimitSettings,
    MeasuredFrom, MessageSettings, SenderSettings, Settings, StatusSettings,
};
use sendbridge::model::{Account, Corp, OnDoubt, SenderName};
use std::time::Duration;

pub const SENDER: &str = "main";

/// `accounts` of `corps` companies in turn, each of which may send once per `interval`.
pub fn engine(accounts: u32, corps: u32, interval: Duration, per_hour: u32) -> Settings {
    Settings {
        senders: vec![SenderSettings {
            name: SenderName::new(SENDER),
            connections: 256,
            callbacks: false,
            doubt_window: Duration::ZERO,
            default_corp: None,
            calls: CallSettings::default(),
        }],
        accounts: (0..accounts).map(|number| account_settings(number, corps)).collect(),
        limits: LimitSettings {
            account: AccountLimits { interval },
            corp: CorpLimits { per_hour, reserve: 1000, burst: None },
            accounts: Vec::new(),
            corps: Vec::new(),
            measured_from: MeasuredFrom::Response,
            cool_down: Duration::from_secs(2),
            cool_down_max: Duration::from_secs(60),
            ahead: Duration::ZERO,
        },
        messages: MessageSettings {
            ttl: Duration::from_secs(86_400),
            dedup_window: Duration::from_secs(3600),
            id_conflict: IdConflict::Reject,
            on_doubt: OnDoubt::Report,
            resends_max: 1,
            queue_messages: 20_000_000,
            queue_bytes: 1 << 40,
            queue_time: None,
            unknown_account_grace: Duration::from_secs(300),
        },
        events: EventLevel::All,
        publish_window: 1000,
        info: serde_json::Value::Null,
        health_interval: None,
        broker_backlog_alarm: 0,
        broker_limits: BrokerLimits::default(),
        status: StatusSettings { per_second: 0, accounts_max: 0, idle: Duration::from_secs(600) },
    }
}

fn account_settings(number: u32, corps: u32) -> AccountSettings {
    AccountSettings {
        account: Account::new(&account(number)),
        corp: Some(Corp::new(&(1_970_325_057_080_000 + u64::from(number % corps)).to_string())),
        sender: Some(SenderName::new(SENDER)),
    }
}

const FIRST: u64 = 1_688_850_407_900_000;

pub fn account(number: u32) -> String {
    (FIRST + u64::from(number)).to_string()
}

/// Of an account that [`account`] named.
pub fn number(account: &str) -> u32 {
    let number = account.parse::<u64>().ok().and_then(|account| u32::try_from(account - FIRST).ok());
    number.expect("one of ours")
}
