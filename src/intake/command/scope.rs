//! What a command is about: a scope to hold, a selection of messages, or whose limits.

use super::value::{self, boxed};
use crate::intake::field::{self, invalid};
use crate::intake::object::Object;
use crate::model::{Account, Corp, Fault, LimitScope, Scope, Selection, SenderName};

/// What the message calls it that a scope has to be.
pub(super) const SCOPES: &str = "all, sender, corp, account, or account with conversation";

/// The one scope that a command names, if it names any.
pub(super) fn scope(object: &Object<'_>) -> Result<Option<Scope>, Fault> {
    let named: Vec<(&str, &str)> = ["all", "sender", "corp", "account"]
        .into_iter()
        .filter_map(|name| object.given(name).map(|raw| (name, raw)))
        .collect();
    let conversation = object.given("conversation");
    match (named.as_slice(), conversation) {
        ([], None) => Ok(None),
        ([("account", raw)], Some(_)) => {
            let account = Account::new(&field::name("account", raw)?);
            let conversation = value::conversation(object)?.unwrap_or_default();
            Ok(Some(Scope::Conversation(account, conversation)))
        }
        (_, Some(_)) => {
            let message = "conversation goes with account and nothing else: add the account that it belongs to";
            Err(invalid("conversation", message))
        }
        ([(name, raw)], None) => one_scope(name, raw).map(Some),
        ([_, (second, _), ..], None) => {
            let names: Vec<&str> = named.iter().map(|&(name, _)| name).collect();
            let message = format!("{} exclude each other: send one of {SCOPES}", names.join(" and "));
            Err(invalid(second, message))
        }
    }
}

fn one_scope(name: &str, raw: &str) -> Result<Scope, Fault> {
    match name {
        "sender" => Ok(Scope::Sender(SenderName::new(&field::name(name, raw)?))),
        "corp" => Ok(Scope::Corp(Corp::new(&field::name(name, raw)?))),
        "account" => Ok(Scope::Account(Account::new(&field::name(name, raw)?))),
        _ => value::only_true(name, raw).map(|()| Scope::All),
    }
}

/// All conditions on messages that a command names, which may be none.
pub(super) fn selection(object: &Object<'_>) -> Result<Selection, Fault> {
    Ok(Selection {
        id: value::message_id(object)?,
        account: value::account(object)?,
        conversation: value::conversation(object)?,
        corp: value::corp(object)?,
        tag: object.given("tag").map(|raw| field::name("tag", raw)).transpose()?.map(boxed),
    })
}

/// An account or a company, if one is named.
pub(super) fn limit_scope(object: &Object<'_>) -> Result<Option<LimitScope>, Fault> {
    match (value::account(object)?, value::corp(object)?) {
        (None, None) => Ok(None),
        (Some(account), None) => Ok(Some(LimitScope::Account(account))),
        (None, Some(corp)) => Ok(Some(LimitScope::Corp(corp))),
        (Some(_), Some(_)) => {
            Err(invalid("corp", "account and corp exclude each other: an account's own limit is its interval"))
        }
    }
}
