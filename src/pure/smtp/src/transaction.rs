use pure_addr::{Address, ReversePath, Text};
use std::collections::HashSet;

/// BODY= of RFC 6152 and RFC 3030.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Body {
    /// 7BIT, or not said.
    #[default]
    SevenBit,
    /// 8BITMIME.
    EightBitMime,
    /// BINARYMIME.
    BinaryMime,
}

/// RET= of RFC 3461 4.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    /// FULL.
    Full,
    /// HDRS.
    Headers,
}

/// NOTIFY= of RFC 3461 4.1. All false is NEVER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notify {
    /// SUCCESS.
    pub success: bool,
    /// FAILURE.
    pub failure: bool,
    /// DELAY.
    pub delay: bool,
}

/// ORCPT= of RFC 3461 4.2, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginalRecipient {
    /// The address type, such as `rfc822`.
    pub kind: Text<64>,
    /// The address of that type.
    pub address: Text<500>,
}

/// An accepted RCPT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The forward-path.
    pub address: Address,
    /// NOTIFY, if given.
    pub notify: Option<Notify>,
    /// ORCPT, if given.
    pub original: Option<OriginalRecipient>,
}

/// A mail transaction: what MAIL and the accepted RCPTs said. It has no `Clone`: what ends it takes it.
#[derive(Debug, PartialEq, Eq)]
pub struct Transaction {
    /// From MAIL.
    pub reverse_path: ReversePath,
    /// BODY=.
    pub body: Body,
    /// SMTPUTF8 (RFC 6531 3.4).
    pub smtputf8: bool,
    /// REQUIRETLS (RFC 8689 2).
    pub require_tls: bool,
    /// SIZE=, in bytes.
    pub size: Option<u64>,
    /// RET=.
    pub ret: Option<Ret>,
    /// ENVID=, decoded.
    pub envid: Option<Text<100>>,
    recipients: Vec<Recipient>,
    known: HashSet<Address>,
}

impl Transaction {
    pub(crate) fn new(reverse_path: ReversePath, parameters: crate::MailParameters) -> Self {
        Self {
            reverse_path,
            body: parameters.body.unwrap_or_default(),
            smtputf8: parameters.smtputf8,
            require_tls: parameters.require_tls,
            size: parameters.size,
            ret: parameters.ret,
            envid: parameters.envid,
            recipients: Vec::new(),
            known: HashSet::new(),
        }
    }

    pub(crate) fn has(&self, address: &Address) -> bool {
        self.known.contains(address)
    }

    pub(crate) fn add(&mut self, recipient: Recipient) {
        if self.known.insert(recipient.address.clone()) {
            self.recipients.push(recipient);
        }
    }

    /// The accepted recipients in order, none twice.
    pub fn recipients(&self) -> &[Recipient] {
        &self.recipients
    }

    /// As [`Self::recipients`], owned.
    pub fn into_recipients(self) -> Vec<Recipient> {
        self.recipients
    }
}
