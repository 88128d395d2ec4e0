//! The settings of each part, out of the one configuration.

use super::AppError;
use super::info;
use crate::config::{self, Config};
use crate::engine::{
    self, AccountLimits, AccountSettings, BrokerLimits, CorpLimits, EventLevel, LimitSettings, MessageSettings,
    StatusSettings,
};
use crate::intake::callback;
use crate::model::{CallRule, CallRules, InfoReport, SenderName};
use crate::mqtt::topics::Topics;
use crate::mqtt::{self, BrokerUrl, ClientIdentity, TlsSettings};
use crate::{intake, journal, sender};
use info::Described;
use secrecy::ExposeSecret;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What each part is started with.
pub(super) struct Settings {
    pub(super) broker: Option<SocketAddr>,
    pub(super) http: SocketAddr,
    pub(super) mqtt: mqtt::Settings,
    pub(super) intake: intake::Settings,
    pub(super) engine: engine::Settings,
    /// What the bridge says of itself, on its topic and when asked.
    pub(super) info: InfoReport,
    pub(super) journal: journal::Settings,
    /// Each server, and how often its account list is read.
    pub(super) senders: Vec<(sender::Settings, Duration)>,
    pub(super) callbacks: Vec<callback::Source>,
    /// Room in the channel of inputs.
    pub(super) inputs_max: usize,
}

impl Settings {
    pub(super) fn from(config: Config) -> Result<Self, AppError> {
        let (mut engine, described) = (engine_settings(&config), Described::of(&config));
        let Config { mqtt, topics, messages, senders, store, http, broker, callbacks, .. } = config;
        let topics =
            Topics::new(&topics.send, &topics.answer, &topics.base, &topics.reply_topics).map_err(AppError::Topics)?;
        let extra_types = senders.iter().flat_map(|sender| sender.types.keys()).map(|kind| Arc::from(kind.as_str()));
        let info = described.report(&topics);
        // Nothing in it can fail: its keys are texts.
        engine.info = serde_json::to_value(&info).unwrap_or_default();
        // The broker's window of unacknowledged messages fits twice, with room for verdicts and acknowledgements.
        let inputs_max = 2 * usize::from(mqtt.receive_maximum) + INPUTS_OF_OTHERS;
        Ok(Self {
            broker: broker.listen,
            http: http.listen,
            intake: intake::Settings {
                max_message: usize::try_from(messages.max_message).unwrap_or(usize::MAX),
                extra_types: extra_types.collect(),
                topics: Arc::new(topics),
            },
            journal: journal::Settings {
                path: store.path,
                retention: store.retention,
                body_retention: store.body_retention,
                // What a late callback may prove or explain must be known again after a restart.
                dedup_window: if callbacks.is_empty() {
                    messages.dedup_window
                } else {
                    messages.dedup_window.max(engine::EVIDENCE_KEPT)
                },
                low_space_bytes: store.low_space,
            },
            engine,
            info,
            callbacks: callbacks.into_iter().map(callback_source).collect::<Result<_, _>>()?,
            mqtt: mqtt_settings(mqtt)?,
            senders: senders.into_iter().map(sender_settings).collect(),
            inputs_max,
        })
    }
}

/// Room for inputs that are no deliveries.
const INPUTS_OF_OTHERS: usize = 2048;
/// Longer than nearly all commits take at full speed, two of them: the one that is under way when a message comes due,
/// and its own.
const AHEAD: Duration = Duration::from_millis(15);

/// How to reach the broker that a configuration names.
///
/// # Errors
/// [`AppError::BrokerUrl`].
pub fn mqtt_settings(config: config::Mqtt) -> Result<mqtt::Settings, AppError> {
    let url = BrokerUrl::parse(&config.url).map_err(AppError::BrokerUrl)?;
    let client =
        config.client.map(|own| ClientIdentity { cert_pem: own.certificate.text.into_bytes(), key_pem: own.key.value });
    Ok(mqtt::Settings {
        keep_alive: config.keep_alive,
        receive_maximum: config.receive_maximum,
        username: config.username,
        password: config.password.map(|password| password.value),
        tls: TlsSettings { ca_pem: config.ca.map(|pem| pem.text.into_bytes()), client },
        watch_broker: true,
        ..mqtt::Settings::new(url, config.client_id)
    })
}

fn callback_source(config: config::Callback) -> Result<callback::Source, AppError> {
    let sender = config.of.sender().cloned();
    let text = |secret: &config::Secret| Box::<str>::from(secret.value.expose_secret());
    let kind = match &config.of {
        config::CallbackOf::Quntool { .. } => callback::Kind::Quntool,
        config::CallbackOf::Guid => callback::Kind::Guid(callback::Logins::default()),
        config::CallbackOf::Yunxin { app_key, app_secret, tolerance } => callback::Kind::Yunxin {
            app_key: Box::from(app_key.as_str()),
            app_secret: text(app_secret),
            tolerance: *tolerance,
        },
        config::CallbackOf::Wecom { token, aes_key, receivers, tolerance } => {
            let aes_key = callback::AesKey::parse(aes_key.value.expose_secret())
                .ok_or_else(|| AppError::CallbackKey(config.name.clone()))?;
            let keys = callback::WecomKeys { token: text(token), aes_key, receivers: receivers.clone() };
            callback::Kind::Wecom { keys, tolerance: *tolerance }
        }
    };
    let secret = text(&config.secret);
    Ok(callback::Source { name: config.name.into(), secret, sender, personal_data: config.personal_data, kind })
}

fn sender_settings(config: config::Sender) -> (sender::Settings, Duration) {
    let signs = |signs: Vec<config::Sign>| -> Vec<sender::Sign> {
        signs
            .into_iter()
            .map(|sign| match sign {
                config::Sign::Code(code) => sender::Sign::Code(code),
                config::Sign::Word(word) => sender::Sign::Words(word.into()),
            })
            .collect()
    };
    let settings = sender::Settings {
        timeout: config.timeout,
        connect_timeout: config.connect_timeout,
        connections: config.connections.into(),
        reuse_idle: config.reuse_idle,
        rules: sender::Rules {
            busy_means_not_done: config.busy_means_not_done,
            temporary: signs(config.temporary),
            offline: signs(config.offline),
            unknown: signs(config.unknown),
        },
        ca_pem: config.ca.map(|pem| pem.text.into_bytes()),
        paths: config.types,
        calls: sender::CallSettings {
            connections: config.calls.connections.into(),
            timeout: config.calls.timeout,
            answer_bytes_max: usize::try_from(config.calls.answer_max).unwrap_or(usize::MAX),
            file_bytes_max: usize::try_from(config.calls.file_max).unwrap_or(usize::MAX),
            private_file_hosts: config.calls.private_file_hosts,
        },
        ..sender::Settings::new(config.name, config.url, config.api_key.value)
    };
    (settings, config.directory_refresh)
}

fn engine_settings(config: &Config) -> engine::Settings {
    let messages = &config.messages;
    let has_callbacks = |name: &SenderName| config.callbacks.iter().any(|callback| callback.of.sender() == Some(name));
    let senders = config.senders.iter().map(|sender| engine::SenderSettings {
        name: sender.name.clone(),
        connections: sender.connections.into(),
        callbacks: has_callbacks(&sender.name),
        // Proof can only come by callback: without one there is nothing to wait for.
        doubt_window: if has_callbacks(&sender.name) { messages.doubt_window } else { Duration::ZERO },
        default_corp: sender.default_corp.clone(),
        calls: engine::CallSettings {
            rules: CallRules {
                // Each was read once already, when the configuration was.
                rules: sender.calls.entries.iter().filter_map(|entry| CallRule::parse(entry).ok()).collect(),
                sends: sender.types.values().map(|path| Box::from(path.as_str())).collect(),
            },
            connections: sender.calls.connections.into(),
        },
    });
    let accounts = config.accounts.iter().map(|own| AccountSettings {
        account: own.account.clone(),
        corp: Some(own.corp.clone()),
        sender: Some(own.sender.clone()),
    });
    engine::Settings {
        senders: senders.collect(),
        accounts: accounts.collect(),
        limits: limit_settings(&config.limits),
        messages: MessageSettings {
            ttl: messages.ttl,
            dedup_window: messages.dedup_window,
            id_conflict: match messages.id_conflict {
                config::IdConflict::Reject => engine::IdConflict::Reject,
                config::IdConflict::Accept => engine::IdConflict::Accept,
            },
            on_doubt: messages.on_doubt,
            resends_max: messages.max_resends,
            queue_messages: usize::try_from(messages.queue_messages).unwrap_or(usize::MAX),
            queue_bytes: messages.queue_bytes,
            queue_time: messages.queue_time,
            unknown_account_grace: messages.unknown_account_grace,
        },
        events: match config.topics.events {
            config::Events::All => EventLevel::All,
            config::Events::Final => EventLevel::Final,
            config::Events::Off => EventLevel::Off,
        },
        publish_window: super::PUBLISH_WINDOW,
        info: serde_json::Value::Null,
        health_interval: Some(config.topics.health_interval),
        broker_backlog_alarm: config.mqtt.broker_backlog_alarm,
        broker_limits: BrokerLimits {
            clients: config.mqtt.broker_clients_alarm,
            heap_bytes: config.mqtt.broker_memory_alarm,
        },
        status: StatusSettings {
            per_second: config.topics.status_per_second,
            accounts_max: config.topics.status_accounts,
            idle: config.topics.status_idle,
        },
    }
}

/// The engine's limits, also for those who only ask what they would do.
pub(crate) fn limit_settings(limits: &config::Limits) -> LimitSettings {
    let corp = |corp: &config::CorpLimit| CorpLimits {
        per_hour: corp.per_hour,
        // Rounded down: the reserve must never take the last place of a small hour.
        reserve: (u64::from(corp.per_hour) * u64::from(corp.reserve) / 100) as u32,
        burst: corp.burst,
    };
    LimitSettings {
        account: AccountLimits { interval: limits.account_interval },
        corp: corp(&limits.corp),
        accounts: limits.accounts.iter().map(|(name, own)| (name.clone(), AccountLimits { interval: *own })).collect(),
        corps: limits.corps.iter().map(|(name, own)| (name.clone(), corp(own))).collect(),
        measured_from: match limits.measured_from {
            config::MeasuredFrom::Response => engine::MeasuredFrom::Response,
            config::MeasuredFrom::Request => engine::MeasuredFrom::Request,
        },
        cool_down: limits.cool_down,
        cool_down_max: limits.cool_down_max,
        ahead: AHEAD,
    }
}
