//! What the sender's API offers beside sending, as its documentation has it.

/// The method of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    Get,
    Post,
    Put,
    Delete,
}

impl Method {
    pub const ALL: [Self; 4] = [Self::Get, Self::Post, Self::Put, Self::Delete];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }

    /// The method of that name, in whatever case.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str().eq_ignore_ascii_case(word))
    }
}

/// One documented path that sends no message of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered {
    pub method: Method,
    pub path: &'static str,
    /// Whether it changes something, also at its receiver: made once per transaction, and journaled. A conversion of
    /// ids or a search is no change, although it is a POST.
    pub changes: bool,
}

const fn reads(method: Method, path: &'static str) -> Offered {
    Offered { method, path, changes: false }
}

const fn changes(method: Method, path: &'static str) -> Offered {
    Offered { method, path, changes: true }
}

/// Every documented path that is no path of sending, by subject.
pub const OFFERED: [Offered; 44] = [
    // Logging in, and the containers in which accounts run.
    changes(Method::Post, "/container/verify"),
    changes(Method::Post, "/container/create"),
    changes(Method::Post, "/container/stop"),
    changes(Method::Post, "/container/start"),
    changes(Method::Post, "/container/remove"),
    changes(Method::Post, "/container/restart"),
    reads(Method::Get, "/container/memory"),
    reads(Method::Get, "/inner/user/wx/list"),
    reads(Method::Get, "/inner/user/list"),
    // Contacts.
    reads(Method::Get, "/contact/external/list"),
    reads(Method::Get, "/contact/extendinfo"),
    reads(Method::Get, "/contact/inner/list"),
    changes(Method::Put, "/contact/remark"),
    changes(Method::Put, "/contact/desc"),
    changes(Method::Put, "/contact/phone"),
    changes(Method::Post, "/contact/remove"),
    reads(Method::Post, "/contact/external/query"),
    reads(Method::Get, "/contact/search"),
    changes(Method::Post, "/contact/search/add"),
    // Groups.
    changes(Method::Post, "/group"),
    reads(Method::Get, "/group/list"),
    changes(Method::Put, "/group/name"),
    reads(Method::Get, "/group/member/list"),
    changes(Method::Post, "/group/member"),
    changes(Method::Delete, "/group/member"),
    changes(Method::Post, "/group/member/contact"),
    changes(Method::Post, "/group/notice"),
    // Ids of the platform's own API, both ways.
    reads(Method::Post, "/contact/externalUserId"),
    reads(Method::Post, "/contact/externalUserIdFromDb"),
    reads(Method::Post, "/contact/contactUserId"),
    reads(Method::Post, "/contact/contactUserIdFromDb"),
    reads(Method::Post, "/group/externalRoomId"),
    reads(Method::Post, "/group/RoomId"),
    reads(Method::Get, "/contact/relation"),
    changes(Method::Post, "/contact/relation/sync"),
    // Labels.
    reads(Method::Get, "/label/all"),
    changes(Method::Post, "/label/contact/setlabel"),
    reads(Method::Get, "/label/contact/labels"),
    reads(Method::Post, "/label/contact/search"),
    reads(Method::Get, "/label/contacts"),
    // What is kept to be sent, and mass messages that others wrote.
    reads(Method::Get, "/miniprogram/list"),
    reads(Method::Get, "/videonum/list"),
    changes(Method::Post, super::UPLOAD_PATH),
    changes(Method::Post, "/batchmsg/confirm"),
];
