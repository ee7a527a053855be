//! Offers and answers of permessage-deflate (RFC 7692 sections 5 and 7.1).

use std::fmt::Write as _;

use crate::handshake::extensions::Extension;

use super::{DeflateConfig, DeflateMode, DeflateParams};

const NAME: &str = "permessage-deflate";
const SERVER_NO_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_BITS: &str = "server_max_window_bits";
const CLIENT_BITS: &str = "client_max_window_bits";

/// The parameters of one offer or answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    server_no_takeover: bool,
    client_no_takeover: bool,
    server_bits: Option<u8>,
    client_bits: Option<ClientBits>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientBits {
    /// The client understands the parameter.
    Understood,
    /// It will use no more than this.
    AtMost(u8),
}

/// The server's answer is not one that the offer allows; says how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unacceptable(pub(crate) &'static str);

impl Offer {
    /// Reads the parameters, each known, valid and given once. Anything else
    /// declines the offer (RFC 7692 section 7), or spoils the answer.
    fn read(extension: &Extension<'_>) -> Option<Self> {
        let mut offer = Self::default();
        for (name, value) in &extension.params {
            let repeated = match *name {
                SERVER_NO_TAKEOVER if value.is_none() => {
                    std::mem::replace(&mut offer.server_no_takeover, true)
                }
                CLIENT_NO_TAKEOVER if value.is_none() => {
                    std::mem::replace(&mut offer.client_no_takeover, true)
                }
                SERVER_BITS => offer
                    .server_bits
                    .replace(bits(value.as_deref()?)?)
                    .is_some(),
                CLIENT_BITS => {
                    let given = match value {
                        None => ClientBits::Understood,
                        Some(value) => ClientBits::AtMost(bits(value)?),
                    };
                    offer.client_bits.replace(given).is_some()
                }
                _ => return None,
            };
            if repeated {
                return None;
            }
        }
        Some(offer)
    }

    /// What a client with this configuration offers.
    pub(crate) fn of_client(config: &DeflateConfig) -> Self {
        let config = config.in_range();
        let shared = config.mode == DeflateMode::Shared;
        Self {
            server_no_takeover: shared,
            client_no_takeover: shared,
            server_bits: Some(config.peer_window_bits).filter(|&bits| bits < 15),
            client_bits: Some(match config.window_bits {
                15 => ClientBits::Understood,
                bits => ClientBits::AtMost(bits),
            }),
        }
    }

    /// The value of the header.
    pub(crate) fn header(&self) -> String {
        let mut text = NAME.to_owned();
        if self.server_no_takeover {
            let _infallible = write!(text, "; {SERVER_NO_TAKEOVER}");
        }
        if self.client_no_takeover {
            let _infallible = write!(text, "; {CLIENT_NO_TAKEOVER}");
        }
        if let Some(bits) = self.server_bits {
            let _infallible = write!(text, "; {SERVER_BITS}={bits}");
        }
        let _infallible = match self.client_bits {
            None => Ok(()),
            Some(ClientBits::Understood) => write!(text, "; {CLIENT_BITS}"),
            Some(ClientBits::AtMost(bits)) => write!(text, "; {CLIENT_BITS}={bits}"),
        };
        text
    }

    /// How a server with this configuration answers, if it can.
    fn accept(&self, config: &DeflateConfig) -> Option<(DeflateParams, Self)> {
        let config = config.in_range();
        let shared = config.mode == DeflateMode::Shared;
        let server_bits = self.server_bits.unwrap_or(15).min(config.window_bits);
        if server_bits < 9 {
            return None;
        }
        let client_bits = self.client_bits.map(|bits| match bits {
            ClientBits::Understood => config.peer_window_bits,
            ClientBits::AtMost(bits) => bits.min(config.peer_window_bits),
        });
        let answer = Self {
            server_no_takeover: self.server_no_takeover || shared,
            client_no_takeover: self.client_no_takeover || shared,
            server_bits: Some(server_bits).filter(|&b| b < 15 || self.server_bits.is_some()),
            client_bits: client_bits
                .filter(|&bits| bits < 15 || self.client_bits != Some(ClientBits::Understood))
                .map(ClientBits::AtMost),
        };
        let params = DeflateParams {
            server_no_context_takeover: answer.server_no_takeover,
            client_no_context_takeover: answer.client_no_takeover,
            server_max_window_bits: server_bits,
            client_max_window_bits: client_bits.unwrap_or(15),
        };
        Some((params, answer))
    }

    /// Checks the server's answer to this offer, and says what then holds.
    pub(crate) fn check(&self, answer: &Extension<'_>) -> Result<DeflateParams, Unacceptable> {
        if answer.name != NAME {
            return Err(Unacceptable("another extension than the one offered"));
        }
        let answer = Self::read(answer).ok_or(Unacceptable(
            "an unknown, repeated or invalid parameter of permessage-deflate",
        ))?;
        if self.server_no_takeover && !answer.server_no_takeover {
            return Err(Unacceptable(
                "server_no_context_takeover was demanded and not granted",
            ));
        }
        let server_bits = match (self.server_bits, answer.server_bits) {
            (None, granted) => granted.unwrap_or(15),
            (Some(demanded), Some(granted)) if granted <= demanded => granted,
            (Some(_), _) => {
                return Err(Unacceptable(
                    "server_max_window_bits was demanded and not granted",
                ));
            }
        };
        let own_bits = match self.client_bits {
            Some(ClientBits::AtMost(bits)) => bits,
            Some(ClientBits::Understood) | None => 15,
        };
        let client_bits = match (self.client_bits, answer.client_bits) {
            (_, None) => own_bits,
            (Some(_), Some(ClientBits::AtMost(bits))) if bits <= own_bits => bits,
            (Some(_), Some(_)) => {
                return Err(Unacceptable(
                    "client_max_window_bits without a value or above the offered one",
                ));
            }
            (None, Some(_)) => return Err(Unacceptable("client_max_window_bits was not offered")),
        };
        Ok(DeflateParams {
            server_no_context_takeover: answer.server_no_takeover,
            // What we hinted at we keep to, granted or not (section 7.1.1.2).
            client_no_context_takeover: answer.client_no_takeover || self.client_no_takeover,
            server_max_window_bits: server_bits,
            client_max_window_bits: client_bits,
        })
    }
}

/// 8 to 15 in decimal without leading zeros (RFC 7692 section 7.1.2).
fn bits(value: &str) -> Option<u8> {
    match value.as_bytes() {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// The usable offers of a client, in its order of preference.
pub(crate) fn offers(list: &[Extension<'_>]) -> impl Iterator<Item = Offer> {
    list.iter()
        .filter(|extension| extension.name == NAME)
        .filter_map(Offer::read)
}

/// The first offer that a server with this configuration can meet: what then
/// holds, and the value of the header that says so.
pub(crate) fn answer(
    mut offers: impl Iterator<Item = Offer>,
    config: &DeflateConfig,
) -> Option<(DeflateParams, String)> {
    let (params, answer) = offers.find_map(|offer| offer.accept(config))?;
    Some((params, answer.header()))
}
