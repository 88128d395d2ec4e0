use rumqttc::v5::StateError;
use rumqttc::v5::mqttbytes::v5::DisconnectReasonCode;
use std::{fmt, io};

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The broker refused us, with this reason: a wrong password, no permission, a forbidden client id.
    Refused { reason: String },
    /// Another client connected with our client id.
    TakenOver,
    /// The broker closed the connection and said why.
    Closed { reason: String },
    /// Nothing moved for longer than the keep-alive.
    Silent,
    /// The broker acknowledged a publish with a reason that the client cannot read.
    UnreadableReason { packet: u16, code: u8 },
    /// rumqttc's account of the packets differs from ours, or has come to a stand.
    Inconsistent,
    /// The network, TLS, or the packets on it.
    Broken { error: String },
}

impl Lost {
    /// Whether another process with our client id would look like this from here.
    pub(super) const fn may_be_a_rival(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::Closed { .. } => true,
            Self::Refused { .. }
            | Self::TakenOver
            | Self::Silent
            | Self::UnreadableReason { .. }
            | Self::Inconsistent => false,
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { reason } => write!(f, "the broker refuses the connection: {reason}"),
            Self::TakenOver => f.write_str("another client connected with the same client id"),
            Self::Closed { reason } => write!(f, "the broker closed the connection: {reason}"),
            Self::Silent => f.write_str("nothing moved for longer than the keep-alive"),
            Self::UnreadableReason { code, .. } => write!(f, "the broker sent the unreadable reason code {code:#04x}"),
            Self::Inconsistent => f.write_str("the account of the packets under way became inconsistent"),
            Self::Broken { error } => f.write_str(error),
        }
    }
}

impl From<StateError> for Lost {
    fn from(error: StateError) -> Self {
        if let StateError::ServerDisconnect { reason_code, .. } = &error {
            if *reason_code == DisconnectReasonCode::SessionTakenOver {
                return Self::TakenOver;
            }
            return Self::Closed { reason: format!("{reason_code:?}") };
        }
        // The broker answers nothing, not even a ping.
        if matches!(error, StateError::AwaitPingResp) {
            Self::Silent
        } else {
            Self::Broken { error: error.to_string() }
        }
    }
}

impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Self {
        Self::Broken { error: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_a_person_must_know_apart() {
        let disconnect = |reason_code| Lost::from(StateError::ServerDisconnect { reason_code, reason_string: None });
        assert_eq!(disconnect(DisconnectReasonCode::SessionTakenOver), Lost::TakenOver);
        assert_eq!(
            disconnect(DisconnectReasonCode::ServerShuttingDown),
            Lost::Closed { reason: "ServerShuttingDown".into() }
        );
        assert_eq!(Lost::from(StateError::AwaitPingResp), Lost::Silent);
        assert!(matches!(Lost::from(StateError::WrongPacket), Lost::Broken { .. }));
    }
}
